//! The server as an HTTP client sees it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{
    ApiFailure, ApiRequest, Ending, Gate, Message, ModelServer, Reply, RequestKind, SCRIPT_ENDED, Script,
    Usage,
};

const SOON: Duration = Duration::from_secs(5);
const A_MOMENT: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Result<String, hyper::Error>,
}

impl Answer {
    fn body(&self) -> &str {
        self.body.as_deref().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(self.body()).unwrap()
    }

    fn events(&self) -> Vec<Value> {
        let data = self.body().lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    fn text(&self) -> String {
        let json = self.json();
        json["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

/// One request on a connection of its own.
async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap());
    driver.abort();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "model");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body.to_string()))).unwrap()
}

async fn post(server: &ModelServer, headers: &[(&str, &str)], body: Value) -> Answer {
    send(
        server.address(),
        request("POST", "/v1/messages?beta=true", headers, &body),
    )
    .await
    .unwrap()
}

fn prompt(text: &str) -> Value {
    json!({
        "model": "claude-test", "max_tokens": 1000, "tools": [{ "name": "Bash" }],
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": text }] }],
    })
}

fn streamed(text: &str) -> Value {
    let mut body = prompt(text);
    body["stream"] = json!(true);
    body
}

async fn ask(server: &ModelServer) -> Answer {
    post(server, &[], prompt("hi")).await
}

async fn stays_pending(future: impl Future) {
    assert!(timeout(A_MOMENT, future).await.is_err(), "this was to hang");
}

fn everything() -> Message {
    Message::new()
        .thinking("Where may it be?")
        .text("I look at the file with all the code.")
        .tool("Bash", json!({ "command": "cat a-file-with-a-long-name.py" }))
        .usage(Usage {
            input: 7,
            output: 5,
            cache_creation: 3,
            cache_read: 2,
        })
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_api_in_its_order() {
    let server = ModelServer::start(Script::new().reply(everything()))
        .await
        .unwrap();
    let answer = post(&server, &[], streamed("hi")).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
    let events = answer.events();
    let mut kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    kinds.dedup();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let first = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
    ];
    assert_eq!(
        kinds,
        [&first[..], &block, &block, &["message_delta", "message_stop"]].concat()
    );

    let start = &events[0]["message"];
    assert_eq!(start["model"], "claude-test");
    assert_eq!(start["usage"]["input_tokens"], 7);
    assert_eq!(start["usage"]["cache_creation_input_tokens"], 3);
    assert_eq!(start["usage"]["cache_read_input_tokens"], 2);
    let delta = &events[events.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], "tool_use");
    assert_eq!(delta["usage"]["output_tokens"], 5);
}

#[tokio::test]
async fn deltas_add_up_to_the_blocks() {
    let server = ModelServer::start(Script::new().reply(everything()))
        .await
        .unwrap();
    let events = post(&server, &[], streamed("hi")).await.events();
    let joined = |index: u64, field: &str| -> String {
        let deltas = events.iter().filter(|event| event["index"] == index);
        deltas
            .filter_map(|event| event["delta"][field].as_str())
            .collect()
    };
    assert_eq!(joined(0, "thinking"), "Where may it be?");
    assert!(!joined(0, "signature").is_empty());
    assert_eq!(joined(1, "text"), "I look at the file with all the code.");
    let input: Value = serde_json::from_str(&joined(2, "partial_json")).unwrap();
    assert_eq!(input, json!({ "command": "cat a-file-with-a-long-name.py" }));
}

#[tokio::test]
async fn without_stream_the_message_comes_whole() {
    let server = ModelServer::start(Script::new().reply(everything()))
        .await
        .unwrap();
    let message = ask(&server).await.json();
    let kinds: Vec<&Value> = message["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["type"])
        .collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use"]);
    assert_eq!(message["usage"]["output_tokens"], 5);
    assert_eq!(message["stop_reason"], "tool_use");
}

#[tokio::test]
async fn steps_are_taken_in_order_and_then_the_script_has_ended() {
    let script = Script::new().say("one").say("two").times(2).say("three");
    let server = ModelServer::start(script).await.unwrap();
    assert_eq!(server.unused_steps(), 4);
    for expected in ["one", "two", "two", "three", SCRIPT_ENDED, SCRIPT_ENDED] {
        assert_eq!(ask(&server).await.text(), expected);
    }
    assert_eq!(server.unused_steps(), 0);
}

#[tokio::test]
async fn identifiers_differ_within_a_conversation_and_across_servers() {
    let script = || Script::new().tool("Bash", json!({})).forever();
    let id = |answer: Answer| answer.json()["content"][0]["id"].as_str().unwrap().to_owned();
    let server = ModelServer::start(script()).await.unwrap();
    let (one, two) = (id(ask(&server).await), id(ask(&server).await));
    assert_ne!(one, two);
    // Resumed elsewhere: the conversation is longer, so its first answer there has another name.
    let elsewhere = ModelServer::start(script()).await.unwrap();
    let mut longer = prompt("hi");
    longer["messages"] =
        json!([longer["messages"][0], { "role": "assistant", "content": "a" }, longer["messages"][0]]);
    assert_ne!(one, id(post(&elsewhere, &[], longer).await));
}

#[tokio::test]
async fn requests_of_the_agents_own_take_no_step() {
    let server = ModelServer::start(Script::new().say("mine").say("also mine"))
        .await
        .unwrap();
    let agent = [("user-agent", "claude-cli/2.1.329 (external, sdk-cli)")];
    let messages = json!([{ "role": "user", "content": "quota" }]);
    let quota = json!({ "model": "m", "max_tokens": 1, "messages": messages });
    let title =
        json!({ "model": "m", "max_tokens": 32000, "messages": messages, "system": "Name this session." });
    assert_eq!(post(&server, &[], quota).await.status, 200);
    assert_eq!(post(&server, &agent, title.clone()).await.status, 200);
    assert_eq!(server.unused_steps(), 2);
    assert_eq!(server.conversation_count(), 0);

    // The same from another client, and a conversation of the agent that was started without tools.
    assert_eq!(post(&server, &[], title.clone()).await.text(), "mine");
    let mut conversation = title;
    conversation["thinking"] = json!({ "type": "adaptive" });
    assert_eq!(post(&server, &agent, conversation).await.text(), "also mine");
}

#[tokio::test]
async fn failures_are_the_vendors() {
    let limited = ApiFailure::rate_limited().retry_after(Duration::from_millis(1500));
    let cases = [
        (ApiFailure::invalid_request("no"), 400, "invalid_request_error"),
        (ApiFailure::unauthorized(), 401, "authentication_error"),
        (ApiFailure::forbidden(), 403, "permission_error"),
        (ApiFailure::not_found("model: x"), 404, "not_found_error"),
        (limited, 429, "rate_limit_error"),
        (ApiFailure::internal(), 500, "api_error"),
        (ApiFailure::overloaded(), 529, "overloaded_error"),
    ];
    for (failure, status, kind) in cases {
        let server = ModelServer::start(Script::new().fail(failure)).await.unwrap();
        let answer = post(&server, &[], streamed("hi")).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["type"], "error");
        assert_eq!(answer.json()["error"]["type"], kind);
        assert_eq!(
            answer.json()["request_id"].as_str(),
            answer.headers["request-id"].to_str().ok()
        );
        let retry_after = answer
            .headers
            .get("retry-after")
            .map(|value| value.to_str().unwrap());
        assert_eq!(retry_after, (status == 429).then_some("2"));
    }
}

#[tokio::test]
async fn sessions_are_told_apart_by_key_and_by_prompt() {
    let server = ModelServer::start(Script::always("default")).await.unwrap();
    server.script_for_key("sk-a", Script::always("key a"));
    server.script_for_prompt("BLUE", Script::always("blue"));
    assert_eq!(
        post(&server, &[("x-api-key", "sk-a")], prompt("hi")).await.text(),
        "key a"
    );
    assert_eq!(
        post(&server, &[("authorization", "Bearer sk-a")], prompt("hi"))
            .await
            .text(),
        "key a"
    );
    assert_eq!(
        post(&server, &[("x-api-key", "sk-b")], prompt("go BLUE"))
            .await
            .text(),
        "blue"
    );
    assert_eq!(
        post(&server, &[("x-api-key", "sk-b")], prompt("hi")).await.text(),
        "default"
    );

    server.script_for_key("sk-a", Script::always("another"));
    server.set_script(Script::always("new default"));
    assert_eq!(
        post(&server, &[("x-api-key", "sk-a")], prompt("hi")).await.text(),
        "another"
    );
    assert_eq!(ask(&server).await.text(), "new default");
}

#[tokio::test]
async fn a_dropped_answer_breaks_off_in_the_middle() {
    let text = "a text that is long enough for some deltas";
    let server = ModelServer::start(Script::new().drop_midway(text).forever())
        .await
        .unwrap();
    for body in [prompt("hi"), streamed("hi")] {
        assert!(post(&server, &[], body).await.body.is_err());
    }
}

#[tokio::test]
async fn a_truncated_answer_ends_well_without_an_end() {
    let message = Message::new()
        .text("a text that is long enough for some deltas")
        .ending(Ending::Truncate);
    let server = ModelServer::start(Script::new().reply(message)).await.unwrap();
    let events = post(&server, &[], streamed("hi")).await.events();
    assert!(events.iter().any(|event| event["type"] == "content_block_delta"));
    assert!(events.iter().all(|event| event["type"] != "message_stop"));
}

#[tokio::test]
async fn an_answer_can_fail_after_its_head() {
    let message = Message::new()
        .text("a text")
        .ending(Ending::Fail(ApiFailure::overloaded()));
    let server = ModelServer::start(Script::new().reply(message).forever())
        .await
        .unwrap();
    let answer = post(&server, &[], streamed("hi")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.events().last().unwrap()["error"]["type"],
        "overloaded_error"
    );
    // Without a stream there is no head to come first.
    assert_eq!(ask(&server).await.status, 529);
}

#[tokio::test]
async fn garbage_and_silence_are_as_told() {
    let server = ModelServer::start(Script::new().garbage().close()).await.unwrap();
    let garbage = ask(&server).await;
    assert_eq!(
        (garbage.status, garbage.body().starts_with("<html>")),
        (200, true)
    );
    let closed = send(
        server.address(),
        request("POST", "/v1/messages", &[], &prompt("hi")),
    )
    .await;
    assert!(closed.unwrap_err().is_incomplete_message());
}

#[tokio::test]
async fn answers_hang_before_and_within() {
    let server = ModelServer::start(Script::new().hang().hang_midway("half of this"))
        .await
        .unwrap();
    stays_pending(ask(&server)).await;
    stays_pending(post(&server, &[], streamed("hi"))).await;
    assert_eq!(server.unused_steps(), 0);
}

#[tokio::test]
async fn the_end_of_the_server_ends_answers_that_hang() {
    for by_shutdown in [true, false] {
        let server = ModelServer::start(Script::new().hang()).await.unwrap();
        let address = server.address();
        let answer = tokio::spawn(send(address, request("POST", "/v1/messages", &[], &prompt("hi"))));
        timeout(SOON, server.wait_for_conversation(1)).await.unwrap();
        if by_shutdown {
            timeout(SOON, server.shutdown()).await.unwrap();
        } else {
            drop(server);
        }
        assert!(timeout(SOON, answer).await.unwrap().unwrap().is_err());
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn a_gate_holds_an_answer_back() {
    let gate = Gate::new();
    let server = ModelServer::start(Script::new().say("late").gated(&gate))
        .await
        .unwrap();
    let answer = ask(&server);
    tokio::pin!(answer);
    stays_pending(&mut answer).await;
    gate.open();
    assert_eq!(timeout(SOON, answer).await.unwrap().text(), "late");
}

#[tokio::test]
async fn a_closure_sees_the_request() {
    let echo = |request: &ApiRequest| -> Reply {
        let said = format!(
            "{}|{}|{}",
            request.first_user_text(),
            request.model(),
            request.tool_results().join(",")
        );
        Message::new().text(said).into()
    };
    let server = ModelServer::start(Script::new().answer(echo)).await.unwrap();
    let body = json!({
        "model": "m", "max_tokens": 9,
        "messages": [
            { "role": "user", "content": "do it" },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "Bash", "input": {} }] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t", "content": "as a string" },
                { "type": "tool_result", "tool_use_id": "u", "content": [{ "type": "text", "text": "as a block" }] },
            ] },
            { "role": "user", "content": "a reminder" },
        ],
    });
    assert_eq!(
        post(&server, &[], body).await.text(),
        "do it|m|as a string,as a block"
    );
}

#[tokio::test]
async fn everything_that_arrives_is_recorded() {
    let server = ModelServer::start(Script::always("ok")).await.unwrap();
    post(
        &server,
        &[("x-api-key", "sk-real"), ("anthropic-beta", "b-1")],
        prompt("hi"),
    )
    .await;
    let counted = send(
        server.address(),
        request("POST", "/v1/messages/count_tokens", &[], &prompt("hi")),
    )
    .await
    .unwrap();
    assert_eq!(counted.json(), json!({ "input_tokens": 1000 }));
    assert_eq!(
        send(server.address(), request("HEAD", "/", &[], &Value::Null))
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        send(server.address(), request("GET", "/nowhere", &[], &Value::Null))
            .await
            .unwrap()
            .status,
        404
    );

    let requests = server.requests();
    let kinds: Vec<RequestKind> = requests.iter().map(|request| request.kind).collect();
    assert_eq!(
        kinds,
        [
            RequestKind::Conversation,
            RequestKind::CountTokens,
            RequestKind::Other,
            RequestKind::Other
        ]
    );
    let first = &requests[0];
    assert_eq!(
        (first.method.as_str(), first.path.as_str()),
        ("POST", "/v1/messages?beta=true")
    );
    assert_eq!(first.credential(), Some("sk-real"));
    assert_eq!(first.header("anthropic-beta"), Some("b-1"));
    assert_eq!(first.json(), prompt("hi"));
    assert_eq!(server.conversation().len(), 1);
    server.clear_requests();
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_body_that_is_not_what_the_api_takes_is_answered_all_the_same() {
    let server = ModelServer::start(Script::always("ok")).await.unwrap();
    for body in [
        json!([1, 2]),
        json!({ "messages": "no list" }),
        json!({ "messages": [{ "content": 7 }] }),
    ] {
        assert_eq!(post(&server, &[], body).await.text(), "ok");
    }
}
