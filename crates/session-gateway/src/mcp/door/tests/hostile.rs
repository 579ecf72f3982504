//! A session that wants to grow the endpoint, or what people read of it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use hyper::StatusCode;
use rmcp::model::{SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams};
use rmcp::{ErrorData, ServerHandler};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

use super::super::core::Core;
use super::super::handler::Handler;
use super::support::{Agent, Era, Fake, INITIALIZE, Raw, Site, TOKEN, event_of, helpful, options, view};
use crate::mcp::call::CallError;

fn git() -> Arc<Fake> {
    Fake::new("git", &["log"])
}

#[tokio::test]
async fn clients_that_leave_while_they_begin_leave_nothing() {
    let mut options = options();
    options.max_clients = 4;
    let site = Site::with(view(&[git()]), options).await;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{INITIALIZE}",
        site.address,
        INITIALIZE.len()
    );
    for _ in 0..60 {
        let (mut client, ours) = tokio::io::duplex(4 << 10);
        client.write_all(request.as_bytes()).await.unwrap();
        let before = site.sessions().await;
        // The connection is cut as soon as there is a session, before it is answered.
        tokio::select! {
            biased;
            () = site.serve(ours) => {}
            () = async {
                for _ in 0..100 {
                    if site.sessions().await > before {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let there = site.sessions().await;
    assert!(there <= 4, "{there} sessions of clients that are gone");
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    assert_eq!(agent.tools().await, ["git__log"]);
}

#[tokio::test]
async fn clients_that_begin_at_once_are_no_more_than_may_be() {
    let site = Site::new(&[git()]).await;
    let most = options().max_clients;
    let begun = join_all((0..100).map(|_| async {
        let mut raw = Raw::connect(&site).await;
        let (status, ..) = raw.post(&[], INITIALIZE).await;
        status
    }))
    .await;
    assert!(begun.contains(&StatusCode::OK), "{begun:?}");
    let there = site.sessions().await;
    assert!(there <= most, "{there} sessions");
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    assert_eq!(agent.tools().await, ["git__log"]);
}

#[tokio::test]
async fn only_ids_that_can_be_repeated_are_taken() {
    let site = Site::new(&[git()]).await;
    let mut with_session = Raw::connect(&site).await;
    with_session.initialize(json!({})).await;
    let mut without = Raw::connect(&site).await;
    let ids = [
        json!("x".repeat(257)),
        json!({ "a": 1 }),
        json!([1]),
        json!(true),
        json!(1.5),
        json!(u64::MAX),
    ];
    for raw in [&mut with_session, &mut without] {
        for id in &ids {
            let messages = [
                json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list", "params": {} }),
                json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
            ];
            for message in messages {
                let (status, _, body) = raw.post(&[], message.to_string()).await;
                let error = event_of(&body);
                assert_eq!(
                    (status, error["error"]["code"].as_i64()),
                    (StatusCode::BAD_REQUEST, Some(-32600)),
                    "{message}: {body}"
                );
                let said = error["error"]["message"].as_str().unwrap();
                assert!(said.contains("id"), "{said}");
            }
        }
    }
    let longest = json!({ "jsonrpc": "2.0", "id": "x".repeat(256), "method": "tools/list", "params": {} });
    let (status, ..) = with_session.post(&[], longest.to_string()).await;
    assert_eq!(status, StatusCode::OK);
}

/// What was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_id_of_a_request_forges_no_line_of_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let site = Site::new(&[git()]).await;
    let mut raw = Raw::connect(&site).await;
    raw.initialize(json!({})).await;
    for id in [
        "7\n2026-01-01 ERROR forged",
        "7\u{1b}[2Jforged",
        "7\u{202e}forged",
    ] {
        let call =
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "git__log" } });
        let (_, _, body) = raw.post(&[], call.to_string()).await;
        assert_eq!(event_of(&body)["id"], id);
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let calls = logged.lines().filter(|line| line.contains("tool call"));
    assert_eq!(
        calls.filter(|line| line.contains("forged")).count(),
        3,
        "{logged:?}"
    );
    assert!(!logged.contains(['\u{1b}', '\u{202e}']), "{logged:?}");
}

fn resources() -> Arc<Fake> {
    let server = git();
    server.offer_resources(&[], &["x://{+path}"]);
    server
}

#[tokio::test]
async fn nobody_subscribes_to_what_is_too_long_to_remember() {
    let server = resources();
    let site = Site::new(std::slice::from_ref(&server)).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let long = format!("x://{}", "a".repeat(8 << 10));
    #[expect(deprecated, reason = "for clients that speak earlier revisions")]
    let refused = agent.service.subscribe(SubscribeRequestParams::new(long)).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
    assert!(server.seen("resources/subscribe").is_empty());
}

#[tokio::test]
async fn what_is_listened_to_is_cut_in_number_and_length() {
    let core = Core::new(view(&[resources()]), options());
    let handler = Handler::new(core, CancellationToken::new());
    let mut filter = SubscriptionFilter::default();
    let long = format!("x://{}", "a".repeat(8 << 10));
    let short = (0..1_000).map(|at| format!("x://{at}"));
    filter.resource_subscriptions = Some([long].into_iter().chain(short).collect());
    let accepted = handler.accepted_subscription_filter(&filter).unwrap();
    let uris: Vec<Value> = accepted
        .resource_subscriptions
        .unwrap()
        .into_iter()
        .map(Value::from)
        .collect();
    assert_eq!(uris.len(), 256);
    assert_eq!(uris[0], "x://0");
}

#[tokio::test]
#[expect(deprecated, reason = "for clients that speak earlier revisions")]
async fn a_subscription_ends_also_when_a_session_calls_as_much_as_it_may() {
    let server = resources();
    server.on("log", |_, _| std::future::pending());
    let mut options = options();
    options.max_calls = 1;
    let site = Site::with(view(std::slice::from_ref(&server)), options).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    agent
        .service
        .subscribe(SubscribeRequestParams::new("x://a"))
        .await
        .unwrap();
    let calling = agent.service.peer().clone();
    let _call = tokio::spawn(async move {
        let call = rmcp::model::CallToolRequestParams::new("git__log");
        calling.call_tool(call).await
    });
    for _ in 0..300 {
        if !server.seen("tools/call").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent
        .service
        .unsubscribe(UnsubscribeRequestParams::new("x://a"))
        .await
        .unwrap();
    assert_eq!(server.seen("resources/unsubscribe").len(), 1);
}

#[tokio::test]
#[expect(deprecated, reason = "for clients that speak earlier revisions")]
async fn who_subscribes_second_hears_what_the_first_hears() {
    let server = resources();
    let answer = Arc::new(Semaphore::new(0));
    let of_server = answer.clone();
    server.on("resources/subscribe", move |_, _| {
        let answer = of_server.clone();
        async move {
            answer.acquire().await.unwrap().forget();
            Err(CallError::Answered(ErrorData::internal_error("not now", None)))
        }
    });
    let site = Site::new(std::slice::from_ref(&server)).await;
    let first = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let second = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let wanting = || SubscribeRequestParams::new("x://a");
    let answering = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer.add_permits(1);
    };
    let subscribed = async {
        tokio::join!(
            first.service.subscribe(wanting()),
            second.service.subscribe(wanting()),
            answering
        )
    };
    let (one, other, ()) = tokio::time::timeout(Duration::from_secs(5), subscribed)
        .await
        .unwrap();
    assert!(one.unwrap_err().to_string().contains("not now"));
    assert!(other.unwrap_err().to_string().contains("not now"));
    assert_eq!(server.seen("resources/subscribe").len(), 1);
    // Whoever comes later asks anew.
    answer.add_permits(1);
    assert!(first.service.subscribe(wanting()).await.is_err());
    assert_eq!(server.seen("resources/subscribe").len(), 2);
}
