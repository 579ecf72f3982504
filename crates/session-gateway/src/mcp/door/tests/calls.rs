//! Calls: what fails and how it is told, progress, cancellation, and how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, ErrorData, NumberOrString,
    ProgressNotificationParam, ProgressToken, ServerResult,
};
use rmcp::service::PeerRequestOptions;
use serde_json::json;
use tokio::sync::Notify;

use super::support::{Agent, Era, Fake, Site, helpful, options, text, text_of, view};
use crate::mcp::call::{CallError, Failure, FailureCause};

fn failure(cause: FailureCause) -> Failure {
    Failure {
        server: "git".parse().unwrap(),
        cause,
        detail: "it is broken".to_owned(),
    }
}

#[tokio::test]
async fn a_failed_call_says_whether_it_may_have_run() {
    let server = Fake::new("git", &["sent", "unsent", "answered"]);
    server.on("sent", |_, _| async {
        Err(CallError::MayHaveRun(failure(FailureCause::Silent)))
    });
    server.on("unsent", |_, _| async {
        Err(CallError::NotSent(failure(FailureCause::HeldOff)))
    });
    server.on("answered", |_, _| async {
        Err(CallError::Answered(ErrorData::invalid_params(
            "its own words",
            Some(json!(7)),
        )))
    });
    let site = Site::new(&[server]).await;
    for era in Era::BOTH {
        let agent = Agent::over_http(&site, era, helpful()).await;
        let sent = agent.call("git__sent", json!({})).await.unwrap();
        let said = text_of(&sent);
        assert_eq!(sent.is_error, Some(true));
        assert!(
            said.starts_with("the MCP server git did not answer; the call may have run: it is broken"),
            "{said}"
        );
        assert_eq!(
            sent.structured_content, None,
            "clients hold it against the tool's schema"
        );
        let account = &sent.meta.unwrap()["io.cofferdam/failure"];
        assert_eq!(
            *account,
            json!({ "code": "server_silent", "server": "git", "retryable": false })
        );

        let unsent = agent.call("git__unsent", json!({})).await.unwrap();
        let said = text_of(&unsent);
        assert!(
            said.contains("nothing was run") && !said.contains("may have run"),
            "{said}"
        );
        assert_eq!(unsent.meta.unwrap()["io.cofferdam/failure"]["retryable"], true);

        let error = agent.call("git__answered", json!({})).await.unwrap_err();
        let rmcp::ServiceError::McpError(error) = error else {
            panic!("{error}")
        };
        assert_eq!(
            (error.code.0, error.message.as_ref(), error.data),
            (-32602, "its own words", Some(json!(7)))
        );
    }
}

#[tokio::test]
async fn a_server_that_answers_another_request_is_an_error() {
    let server = Fake::new("git", &["odd", "empty"]);
    server.on("odd", |_, _| async {
        Ok(ServerResult::ListToolsResult(
            rmcp::model::ListToolsResult::default(),
        ))
    });
    server.on("empty", |_, _| async { Ok(ServerResult::empty(())) });
    let site = Site::new(&[server]).await;
    let agent = Agent::over_http(&site, Era::Modern, helpful()).await;
    assert!(agent.call("git__odd", json!({})).await.is_err());
    assert_eq!(
        agent.call("git__empty", json!({})).await.unwrap().is_error,
        Some(false)
    );
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_takes_nothing_with_it() {
    let server = Fake::new("git", &["dies", "lives"]);
    server.on("dies", |_, _| async { panic!("canary: a defect of ours") });
    let site = Site::new(&[server]).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let died = agent.call("git__dies", json!({})).await.unwrap_err();
    assert!(
        died.to_string().contains("may have run") && !died.to_string().contains("canary"),
        "{died}"
    );
    assert!(agent.text("git__lives", json!({})).await.contains("lives"));
}

fn progress(at: f64, message: &str) -> ProgressNotificationParam {
    let mut progress = ProgressNotificationParam::new(ProgressToken(NumberOrString::Number(99)), at);
    progress.message = Some(message.to_owned());
    progress
}

#[tokio::test]
async fn progress_arrives_under_the_callers_token_before_the_answer() {
    let server = Fake::new("git", &["works"]);
    server.on("works", |_, caller| async move {
        for step in 1..=3 {
            caller.progress(progress(f64::from(step), "step")).await;
        }
        text("done")
    });
    let site = Site::new(&[server]).await;
    for era in Era::BOTH {
        for agent in [
            Agent::over_http(&site, era, helpful()).await,
            Agent::over_lines(&site, era, helpful()).await,
        ] {
            agent.text("git__works", json!({})).await;
            agent
                .hears(|heard| (heard.progress.len() == 3).then_some(()))
                .await;
            let heard = agent.heard.lock().unwrap();
            let mut steps: Vec<f64> = heard.progress.iter().map(|progress| progress.progress).collect();
            // The client hands each to a task of its own.
            steps.sort_by(f64::total_cmp);
            assert_eq!(steps, [1.0, 2.0, 3.0], "{era:?}");
            assert!(
                heard
                    .progress
                    .iter()
                    .all(|progress| progress.progress_token.0 != NumberOrString::Number(99))
            );
        }
    }
}

#[tokio::test]
async fn a_silent_call_is_said_to_run_and_what_is_said_only_grows() {
    let server = Fake::new("git", &["thinks"]);
    server.on("thinks", |_, caller| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        caller.progress(progress(0.0, "late")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        text("done")
    });
    let mut options = options();
    options.heartbeat = Duration::from_millis(50);
    let site = Site::with(view(&[server]), options).await;
    let mut raw = super::support::Raw::connect(&site).await;
    raw.initialize(json!({})).await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "git__thinks", "arguments": {}, "_meta": { "progressToken": "p" },
    }});
    let (_, _, body) = raw.post(&[], call.to_string()).await;
    let said: Vec<f64> = body
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data:")?.trim()).ok())
        .filter_map(|message| message["params"]["progress"].as_f64())
        .collect();
    assert!(said.len() >= 4, "{body}");
    assert!(said.windows(2).all(|pair| pair[0] < pair[1]), "{said:?}");
    assert!(body.contains("still running") && body.contains("late"), "{body}");
}

/// A tool that waits until it is taken back, and says so.
fn hangs(server: &Fake) -> (Arc<Notify>, Arc<Notify>) {
    let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, ends) = (begun.clone(), ended.clone());
    server.on("hangs", move |_, caller| {
        let (begins, ends) = (begins.clone(), ends.clone());
        async move {
            begins.notify_one();
            caller.cancelled().cancelled().await;
            ends.notify_one();
            Err(CallError::Cancelled)
        }
    });
    (begun, ended)
}

async fn soon(what: &Notify) {
    tokio::time::timeout(Duration::from_secs(10), what.notified())
        .await
        .expect("it happens");
}

#[tokio::test]
async fn a_call_that_is_taken_back_is_taken_back_from_its_server() {
    let server = Fake::new("git", &["hangs"]);
    let (begun, ended) = hangs(&server);
    let site = Site::new(&[server]).await;
    for era in Era::BOTH {
        for agent in [
            Agent::over_http(&site, era, helpful()).await,
            Agent::over_lines(&site, era, helpful()).await,
        ] {
            let request = ClientRequest::CallToolRequest(CallToolRequest::new(CallToolRequestParams::new(
                "git__hangs",
            )));
            let call = agent
                .service
                .send_cancellable_request(request, PeerRequestOptions::no_options())
                .await
                .unwrap();
            soon(&begun).await;
            call.cancel(Some("enough".to_owned())).await.unwrap();
            soon(&ended).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_takes_its_calls_back() {
    let server = Fake::new("git", &["hangs"]);
    let (begun, ended) = hangs(&server);
    let mut options = options();
    options.resume_within = Duration::from_millis(100);
    let site = Site::with(view(&[server]), options).await;
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "git__hangs" } });

    // A client with a session, whose connection breaks.
    let mut raw = super::support::Raw::connect(&site).await;
    raw.initialize(json!({})).await;
    let answer = raw.send(hyper::Method::POST, &[], call.to_string()).await;
    soon(&begun).await;
    drop((answer, raw));
    soon(&ended).await;

    // One without, before and after the stream of its answer was begun.
    for patience in [50, 3000] {
        let mut raw = super::support::Raw::connect(&site).await;
        let none = json!({});
        let asking = raw.modern("tools/call", json!({ "name": "git__hangs" }), &none);
        assert!(
            tokio::time::timeout(Duration::from_millis(patience), asking)
                .await
                .is_err()
        );
        soon(&begun).await;
        drop(raw);
        soon(&ended).await;
    }

    // Lines.
    let agent = Agent::over_lines(&site, Era::Legacy, helpful()).await;
    let peer = agent.service.peer().clone();
    tokio::spawn(async move {
        peer.call_tool_once(CallToolRequestParams::new("git__hangs"))
            .await
    });
    soon(&begun).await;
    agent.service.cancel().await.unwrap();
    soon(&ended).await;
}

#[tokio::test]
async fn a_client_that_comes_back_in_time_gets_its_answer() {
    let server = Fake::new("git", &["slow"]);
    server.on("slow", |_, caller| async move {
        let cancelled = caller.cancelled();
        tokio::select! {
            () = cancelled.cancelled() => Err(CallError::Cancelled),
            () = tokio::time::sleep(Duration::from_millis(1500)) => text("worth the wait"),
        }
    });
    let mut options = options();
    options.resume_within = Duration::from_millis(400);
    let site = Site::with(view(&[server]), options).await;
    let mut raw = super::support::Raw::connect(&site).await;
    raw.initialize(json!({})).await;
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "git__slow" } });
    let mut answer = raw.send(hyper::Method::POST, &[], call.to_string()).await;
    let first = http_body_util::BodyExt::frame(answer.body_mut())
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    let id = first
        .lines()
        .find_map(|line| line.strip_prefix("id:"))
        .expect("an event id")
        .trim()
        .to_owned();
    let headers = raw.headers.clone();
    drop((answer, raw));
    let mut again = super::support::Raw::connect(&site).await;
    again.headers = headers;
    let answer = again
        .send(hyper::Method::GET, &[("last-event-id", &id)], "")
        .await;
    let body = tokio::time::timeout(
        Duration::from_secs(5),
        http_body_util::BodyExt::collect(answer.into_body()),
    );
    let body = body.await.unwrap().unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("worth the wait"));
}

#[tokio::test]
async fn there_are_only_so_many_calls() {
    let server = Fake::new("git", &["hangs", "quick"]);
    let (begun, _ended) = hangs(&server);
    let mut options = options();
    options.max_calls = 2;
    let site = Site::with(view(&[server]), options).await;
    let agent = Arc::new(Agent::over_http(&site, Era::Legacy, helpful()).await);
    for _ in 0..2 {
        let agent = agent.clone();
        tokio::spawn(async move { agent.call("git__hangs", json!({})).await });
        soon(&begun).await;
    }
    let refused = agent.call("git__quick", json!({})).await.unwrap();
    assert!(text_of(&refused).contains("too_many_calls"), "{refused:?}");
    assert_eq!(agent.tools().await.len(), 2, "lists are no calls");
}

#[tokio::test]
async fn one_server_that_hangs_holds_up_no_call_of_another() {
    let (hanging, quick) = (Fake::new("a", &["hangs"]), Fake::new("b", &["quick"]));
    let (begun, _ended) = hangs(&hanging);
    let site = Site::new(&[hanging, quick]).await;
    let agent = Arc::new(Agent::over_http(&site, Era::Legacy, helpful()).await);
    let waiting = agent.clone();
    tokio::spawn(async move { waiting.call("a__hangs", json!({})).await });
    soon(&begun).await;
    let said = tokio::time::timeout(Duration::from_secs(2), agent.text("b__quick", json!({}))).await;
    assert!(said.unwrap().contains("quick"));
}

#[tokio::test]
async fn an_endpoint_that_closes_takes_everything_back() {
    let server = Fake::new("git", &["hangs"]);
    let (begun, ended) = hangs(&server);
    let site = Site::new(&[server]).await;
    let agent = Arc::new(Agent::over_http(&site, Era::Legacy, helpful()).await);
    let waiting = agent.clone();
    let call = tokio::spawn(async move { waiting.call("git__hangs", json!({})).await });
    soon(&begun).await;
    let closing = tokio::time::timeout(Duration::from_secs(5), site.close());
    closing.await.expect("it closes");
    soon(&ended).await;
    let _ = tokio::time::timeout(Duration::from_secs(10), call).await;
}

#[tokio::test]
async fn what_is_between_the_agent_and_us_stays_there() {
    let server = Fake::new("git", &["log"]);
    let site = Site::new(std::slice::from_ref(&server)).await;
    let mut raw = super::support::Raw::connect(&site).await;
    let params = json!({ "name": "git__log", "_meta": { "claudecode/toolUseId": "t1", "progressToken": 5 } });
    raw.modern("tools/call", params, &json!({ "sampling": {} })).await;
    let seen = server.seen("tools/call");
    assert_eq!(
        seen[0]["_meta"],
        json!({ "claudecode/toolUseId": "t1", "progressToken": 5 })
    );
    assert_eq!(seen[0]["name"], "log");
}

#[tokio::test]
async fn a_flood_of_progress_grows_nothing_and_hides_no_answer() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = sent.clone();
    let server = Fake::new("git", &["floods"]);
    server.on("floods", move |_, caller| {
        let counting = counting.clone();
        async move {
            for step in 0..200_000_u32 {
                caller.progress(progress(f64::from(step), "more")).await;
                counting.fetch_add(1, Ordering::Relaxed);
            }
            text("done")
        }
    });
    let site = Site::new(&[server]).await;
    let mut raw = super::support::Raw::connect(&site).await;
    raw.initialize(json!({})).await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "git__floods", "_meta": { "progressToken": "p" },
    }});
    // A client that does not read holds the server up in nothing.
    let answer = raw.send(hyper::Method::POST, &[], call.to_string()).await;
    for _ in 0..500 {
        if sent.load(Ordering::Relaxed) == 200_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sent.load(Ordering::Relaxed), 200_000);
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .unwrap()
        .to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("done"));
}
