//! Who may talk to the endpoint, and what it takes from them.

use std::time::Duration;

use hyper::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Agent, Era, Fake, Raw, Site, TOKEN, event_of, helpful, options, text, view};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn git() -> std::sync::Arc<Fake> {
    Fake::new("git", &["log"])
}

#[tokio::test]
async fn the_endpoint_says_who_it_is_and_what_all_servers_can() {
    let only_tools = Fake::new("a", &["x"]);
    only_tools.offer(|offer| offer.capabilities = serde_json::from_value(json!({ "tools": {} })).unwrap());
    only_tools.define(|definition| definition.description = Some("Does\u{202e} x".to_owned()));
    let site = Site::new(std::slice::from_ref(&only_tools)).await;
    let mut raw = Raw::connect(&site).await;
    let said = raw.initialize(json!({})).await;
    assert_eq!(said["serverInfo"]["name"], "cofferdam");
    assert_eq!(said["protocolVersion"], "2025-11-25");
    assert_eq!(said["capabilities"], json!({ "tools": { "listChanged": true } }));
    assert!(
        said["instructions"]
            .as_str()
            .unwrap()
            .contains("Servers: a (Does x)."),
        "{said}"
    );

    let site = Site::new(&[only_tools, git()]).await;
    let mut raw = Raw::connect(&site).await;
    let said = raw.modern("server/discover", json!({}), &json!({})).await;
    let said = &said["result"];
    assert_eq!(
        said["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "cofferdam",
        "{said}"
    );
    let versions = said["supportedVersions"].as_array().unwrap();
    for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        assert!(versions.contains(&json!(version)), "{versions:?}");
    }
    let can = &said["capabilities"];
    assert_eq!(
        can["resources"],
        json!({ "subscribe": true, "listChanged": true })
    );
    assert!(can["prompts"].is_object() && can["logging"].is_object() && can["completions"].is_object());
}

#[tokio::test]
async fn nobody_comes_in_without_the_token_the_host_and_the_origin() {
    let site = Site::new(&[git()]).await;
    let mut raw = Raw::connect(&site).await;
    for (headers, expected) in [
        (("authorization", ""), StatusCode::UNAUTHORIZED),
        (("authorization", "Bearer wrong"), StatusCode::UNAUTHORIZED),
        (("host", "evil.example"), StatusCode::FORBIDDEN),
        (("origin", "https://evil.example"), StatusCode::FORBIDDEN),
        (("origin", "null"), StatusCode::FORBIDDEN),
        (("origin", "http://localhost:3000"), StatusCode::BAD_REQUEST),
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE, Method::OPTIONS] {
            let answer = raw.send(method.clone(), &[headers], PING).await;
            if expected == StatusCode::BAD_REQUEST {
                let passed = answer.status();
                assert!(
                    passed != StatusCode::FORBIDDEN && passed != StatusCode::UNAUTHORIZED,
                    "{method} {passed}"
                );
            } else {
                assert_eq!(answer.status(), expected, "{method} {headers:?}");
            }
            let _ = http_body_util::BodyExt::collect(answer.into_body()).await;
        }
    }
}

#[tokio::test]
async fn another_sessions_token_and_session_are_worth_nothing() {
    let (site, other) = (Site::new(&[git()]).await, Site::new(&[git()]).await);
    let mut raw = Raw::connect(&site).await;
    raw.initialize(json!({})).await;
    let mut elsewhere = Raw::connect(&other).await;
    elsewhere.headers = raw.headers.clone();
    let (status, ..) = elsewhere.post(&[], PING).await;
    assert_eq!(
        status,
        StatusCode::NOT_FOUND,
        "the id of a session of the protocol is of one endpoint"
    );
}

#[tokio::test]
async fn a_session_of_the_protocol_ends_when_its_client_says_so() {
    let site = Site::new(&[git()]).await;
    let mut raw = Raw::connect(&site).await;
    raw.initialize(json!({})).await;
    let (status, _, body) = raw.post(&[], PING).await;
    assert_eq!(
        (status, event_of(&body)["id"].as_i64()),
        (StatusCode::OK, Some(1))
    );
    let answer = raw.send(Method::DELETE, &[], "").await;
    assert!(answer.status().is_success());
    let _ = http_body_util::BodyExt::collect(answer.into_body()).await;
    let (status, ..) = raw.post(&[], PING).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_harms_nobody() {
    let site = Site::new(&[git()]).await;
    let mut raw = Raw::connect(&site).await;
    let code = |body: &str| event_of(body)["error"]["code"].as_i64();
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let wide = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":[{}0]}}"#,
        "[],".repeat(300_000)
    );
    for (body, expected) in [
        ("", -32700),
        ("{", -32700),
        ("\u{0}", -32700),
        ("[]", -32600),
        ("7", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, -32600),
        (deep.as_str(), -32600),
        (wide.as_str(), -32600),
    ] {
        let (status, _, answer) = raw.post(&[], body.to_owned()).await;
        let what = &body[..body.len().min(60)];
        assert_eq!(
            (status, code(&answer)),
            (StatusCode::BAD_REQUEST, Some(expected)),
            "{what}: {answer}"
        );
    }
    for (headers, expected) in [
        (("content-type", "text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (("accept", "text/html"), StatusCode::NOT_ACCEPTABLE),
    ] {
        let (status, ..) = raw.post(&[headers], PING).await;
        assert_eq!(status, expected, "{headers:?}");
    }
    let answer = raw.send(Method::PUT, &[], PING).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    assert_eq!(agent.tools().await, ["git__log"]);
}

#[tokio::test]
async fn methods_and_parameters_that_do_not_exist_are_told_apart() {
    let site = Site::new(&[git()]).await;
    let mut raw = Raw::connect(&site).await;
    raw.initialize(json!({})).await;
    for (method, params, expected) in [
        ("tools/cull", json!({}), -32601),
        ("tools/call", json!({ "name": 7 }), -32602),
        ("resources/read", json!({ "url": "x://y" }), -32602),
        ("tasks/get", json!({ "taskId": "x" }), -32601),
        ("skills/list", json!({}), -32601),
        ("prompts/get", json!({ "name": "x" }), -32602),
        ("resources/read", json!({ "uri": "x://y" }), -32002),
        ("resources/subscribe", json!({}), -32602),
        ("logging/setLevel", json!({ "level": "loud" }), -32602),
    ] {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (_, _, body) = raw.post(&[], message.to_string()).await;
        assert_eq!(
            event_of(&body)["error"]["code"],
            expected,
            "{method} {params}: {body}"
        );
    }
}

#[tokio::test]
async fn what_the_newest_revision_took_away_is_not_there_in_it() {
    let site = Site::new(&[git()]).await;
    let mut raw = Raw::connect(&site).await;
    for (method, params) in [
        ("ping", json!({})),
        ("initialize", json!({})),
        ("logging/setLevel", json!({ "level": "info" })),
        ("logging/setLevel", json!({})),
        ("resources/subscribe", json!({ "uri": "x://y" })),
        ("resources/subscribe", json!({})),
        ("resources/unsubscribe", json!({})),
    ] {
        let (status, _, body) = raw.modern_raw(method, params.clone(), &json!({})).await;
        assert_eq!(
            (status, event_of(&body)["error"]["code"].as_i64()),
            (StatusCode::NOT_FOUND, Some(-32601)),
            "{method} {params}: {body}"
        );
    }
    let read = json!({ "uri": "x://y" });
    let error = raw.modern("resources/read", read, &json!({})).await;
    assert_eq!(error["error"]["code"], -32602, "{error}");
    assert_eq!(error["error"]["data"]["uri"], "x://y", "{error}");
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let mut options = options();
    options.max_message = 10_000;
    options.body_timeout = Duration::from_millis(200);
    let site = Site::with(view(&[git()]), options).await;
    let mut raw = Raw::connect(&site).await;
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#,
        "x".repeat(20_000)
    );
    let (status, ..) = raw.post(&[], long).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    let mut slow = TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         content-length: 50\r\n\r\n{{",
        site.address
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1000];
    let read = tokio::time::timeout(Duration::from_secs(5), slow.read(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");

    let mut chunked = TcpStream::connect(site.address).await.unwrap();
    let head = head.replace(
        "content-length: 50\r\n\r\n{",
        "transfer-encoding: chunked\r\n\r\n",
    );
    chunked.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let mut answer = vec![0; 1000];
    for _ in 0..4 {
        let _ = chunked.write_all(chunk.as_bytes()).await;
    }
    let read = tokio::time::timeout(Duration::from_secs(5), chunked.read(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn bodies_of_a_session_are_bounded_together() {
    let mut options = options();
    options.max_bodies = 64 << 10;
    let site = Site::with(view(&[git()]), options).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         content-length: 60000\r\n\r\n{}",
        site.address,
        "x".repeat(50_000)
    );
    let mut first = TcpStream::connect(site.address).await.unwrap();
    first.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut raw = Raw::connect(&site).await;
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#,
        "x".repeat(30_000)
    );
    let (status, headers, _) = raw.post(&[], long.clone()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(headers.contains_key("retry-after"));
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut raw = Raw::connect(&site).await;
    let (status, ..) = raw.post(&[], long).await;
    assert_ne!(status, StatusCode::TOO_MANY_REQUESTS, "the room is given back");
}

#[tokio::test]
async fn connections_and_clients_are_counted() {
    let mut options = options();
    options.max_connections = 3;
    options.max_clients = 2;
    let site = Site::with(view(&[git()]), options).await;
    let (mut first, mut second, mut third) = (
        Raw::connect(&site).await,
        Raw::connect(&site).await,
        Raw::connect(&site).await,
    );
    first.initialize(json!({})).await;
    second.initialize(json!({})).await;
    let _listening = second.send(Method::GET, &[], "").await;
    let mut too_many = TcpStream::connect(site.address).await.unwrap();
    let mut answer = String::new();
    let refused = tokio::time::timeout(Duration::from_secs(5), too_many.read_to_string(&mut answer));
    refused.await.expect("it is refused").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    // The oldest client gives way to a new one.
    third.initialize(json!({})).await;
    let (status, ..) = first.post(&[], PING).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, ..) = third.post(&[], PING).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_slow_answer_is_begun_before_the_client_gives_up() {
    let server = git();
    server.on("log", |_, _| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        text("at last")
    });
    let mut options = options();
    options.open_after = Duration::from_millis(50);
    let site = Site::with(view(&[server]), options).await;
    let mut raw = Raw::connect(&site).await;
    let (status, headers, body) = raw
        .modern_raw("tools/call", json!({ "name": "git__log" }), &json!({}))
        .await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, "text/event-stream")
    );
    assert!(body.starts_with(":\n\n") && body.contains("at last"), "{body}");
    assert_eq!(event_of(&body)["id"], 1);
}

#[tokio::test]
async fn quick_answers_of_the_newest_revision_are_plain_json() {
    let site = Site::new(&[git()]).await;
    let mut raw = Raw::connect(&site).await;
    let (_, headers, body) = raw
        .modern_raw("tools/call", json!({ "name": "git__log" }), &json!({}))
        .await;
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(event_of(&body)["result"]["isError"], false, "{body}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_and_any_json_are_answered(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        method in prop::sample::select(vec!["tools/call", "tools/list", "initialize", "server/discover", "resources/read",
            "prompts/get", "completion/complete", "subscriptions/listen", "logging/setLevel", "resources/subscribe", "x"]),
        params in json_value(),
        id in json_value(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut options = options();
            options.open_after = Duration::from_millis(20);
            let site = Site::with(view(&[git()]), options).await;
            let mut raw = Raw::connect(&site).await;
            let (status, ..) = raw.post(&[], bytes.clone()).await;
            assert!(status.is_client_error() || status.is_success());
            let messages = [
                json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string(),
                json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string(),
                json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string(),
                json!({ "jsonrpc": "2.0", "id": id, "result": params }).to_string(),
            ];
            let mut with_session = Raw::connect(&site).await;
            with_session.initialize(json!({})).await;
            for message in messages {
                for raw in [&mut raw, &mut with_session] {
                    for version in ["", "2025-11-25", "2026-07-28"] {
                        let answer = raw.send(Method::POST, &[("mcp-protocol-version", version)], message.clone()).await;
                        assert!(!answer.status().is_server_error() || answer.status() == 500, "{message}");
                        let body = http_body_util::BodyExt::collect(answer.into_body());
                        // A subscription does not end.
                        if tokio::time::timeout(Duration::from_millis(200), body).await.is_err() {
                            let headers = raw.headers.clone();
                            *raw = Raw::connect(&site).await;
                            raw.headers = headers;
                        }
                    }
                }
            }
            // It is still there for everybody else.
            let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
            assert_eq!(agent.tools().await, ["git__log"]);
        });
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        ".{0,12}".prop_map(|value| json!(value)),
        Just(json!({ "name": "git__log" })),
        Just(json!({ "uri": "x://y", "requestState": "0" })),
        Just(super::support::modern_meta(&json!({}))),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let keys = prop::sample::select(vec![
            "name",
            "uri",
            "_meta",
            "arguments",
            "notifications",
            "ref",
            "level",
            "cursor",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map(keys.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|fields| json!(fields)),
        ]
    })
}
