//! Calls under way: progress, questions, taking back, isolation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmcp::model::{ClientRequest, GetMeta, NumberOrString, ProgressToken, ServerRequest};
use tokio::time::Instant;

use super::caller::Quiet;
use super::lab::{Lab, call, limits, until};
use crate::mcp::call::{CallError, FailureCause};

#[tokio::test]
async fn all_progress_comes_in_order_before_the_answer_with_the_callers_token() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    for round in 0..50 {
        let caller = Quiet::new();
        let mut request = call("steps");
        let token = ProgressToken(NumberOrString::String(format!("mine-{round}").into()));
        request.get_meta_mut().set_progress_token(token.clone());
        session
            .server("one")
            .request(request, Arc::clone(&caller) as _)
            .await
            .unwrap();
        let reports = caller.progress.lock().unwrap();
        let steps: Vec<f64> = reports.iter().map(|report| report.progress).collect();
        assert_eq!(steps, (1..=20).map(f64::from).collect::<Vec<_>>());
        assert!(reports.iter().all(|report| report.progress_token == token));
    }
}

#[tokio::test]
async fn who_wants_no_progress_gets_none() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    let caller = Quiet::new();
    session
        .call_as("one", "steps", Arc::clone(&caller) as _)
        .await
        .unwrap();
    assert!(caller.progress.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_call_that_is_taken_back_is_cancelled_at_the_server() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    let caller = Quiet::new();
    let cancel = async {
        until(|| puppet.ran() == 1, || "not called".to_owned()).await;
        caller.cancel.cancel();
    };
    let (answer, ()) = tokio::join!(session.call_as("one", "hang", Arc::clone(&caller) as _), cancel);
    assert_eq!(answer, Err(CallError::Cancelled));
    until(
        || puppet.heard("notifications/cancelled") == 1,
        || "not told".to_owned(),
    )
    .await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_server_too() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    let dropped = tokio::time::timeout(Duration::from_millis(200), session.call("one", "hang")).await;
    assert!(dropped.is_err());
    until(
        || puppet.heard("notifications/cancelled") == 1,
        || "not told".to_owned(),
    )
    .await;
}

#[tokio::test]
async fn a_question_goes_to_the_caller_and_its_refusal_back() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    let caller = Quiet::new();
    let answered = async {
        until(|| puppet.heard("answer") == 1, || "no answer".to_owned()).await;
        puppet.go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(session.call_as("one", "ask", Arc::clone(&caller) as _), answered);
    answer.unwrap();
    let asked = caller.asked.lock().unwrap();
    assert!(
        matches!(&asked[..], [ServerRequest::ElicitRequest(_)]),
        "{asked:?}"
    );
}

#[tokio::test]
async fn an_agent_tells_a_server_outside_its_session_no_directories() {
    for (lines, asked) in [("", 0), ("transport = \"session\"", 1)] {
        let lab = Lab::new(&[("one", lines)], limits());
        let session = lab.session(&["one"]).await;
        let puppet = lab.puppet("one");
        let caller = Quiet::new();
        let answered = async {
            until(|| puppet.heard("answer") == 1, || "no answer".to_owned()).await;
            puppet.go_on.notify_one();
        };
        let (answer, ()) = tokio::join!(
            session.call_as("one", "roots", Arc::clone(&caller) as _),
            answered
        );
        answer.unwrap();
        assert_eq!(caller.asked.lock().unwrap().len(), asked, "{lines}");
    }
}

#[tokio::test]
async fn what_is_no_answer_may_have_run() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    let error = session.call("one", "nonsense").await.unwrap_err();
    assert!(
        matches!(&error, CallError::MayHaveRun(failure) if failure.cause == FailureCause::Broken),
        "{error:?}"
    );
    assert_eq!(
        session.call("one", "echo").await.unwrap(),
        "hello",
        "the server goes on"
    );
}

#[tokio::test]
async fn tools_that_do_not_exist_or_are_filtered_are_refused_before_they_are_sent() {
    let lab = Lab::new(&[("one", "tools = { deny = [\"count\"] }")], limits());
    let session = lab.session(&["one"]).await;
    for tool in ["count", "missing"] {
        let error = session.call("one", tool).await.unwrap_err();
        assert!(matches!(error, CallError::Answered(_)), "{tool}: {error:?}");
    }
    assert_eq!(lab.puppet("one").heard("tools/call"), 0);
    let offer = session.server("one").offer().await.unwrap();
    assert!(offer.tool("echo").is_some() && offer.tool("count").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_that_hangs_floods_and_crashes_delays_no_other() {
    let slow = "times = { call_ms = 2000, start_ms = 500 }";
    let lab = Lab::new(
        &[
            ("good", ""),
            ("hung", slow),
            ("loud", ""),
            ("dying", ""),
            ("stuck", slow),
        ],
        limits(),
    );
    let session = Arc::new(lab.session(&["good", "hung", "loud", "dying", "stuck"]).await);
    session.call("good", "echo").await.unwrap();
    lab.puppet("stuck").frozen.store(true, Ordering::SeqCst);
    let mut nuisances = tokio::task::JoinSet::new();
    for (server, tool) in [
        ("hung", "hang"),
        ("loud", "flood"),
        ("dying", "crash"),
        ("stuck", "echo"),
    ] {
        let session = Arc::clone(&session);
        nuisances.spawn(async move {
            loop {
                drop(session.call(server, tool).await);
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut took = Vec::new();
    for _ in 0..500 {
        let begun = Instant::now();
        session.call("good", "echo").await.unwrap();
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    // Far above what it takes and far below what the others do to their own callers.
    assert!(took[494] < Duration::from_millis(100), "p99 {:?}", took[494]);
    assert_eq!(lab.puppet("good").starts(), 1);
    nuisances.shutdown().await;
    lab.registry.shutdown().await;
    for server in ["good", "hung", "loud", "dying", "stuck"] {
        until(|| lab.puppet(server).alive() == 0, || format!("{server} lives")).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_is_sent_no_more_than_it_has_room_for_and_ended() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    session.call("one", "echo").await.unwrap();
    puppet.blocked.store(true, Ordering::SeqCst);
    for _ in 0..16 {
        let caller = Quiet::new();
        let ClientRequest::CallToolRequest(mut large) = call("hang") else {
            unreachable!("a call is a call")
        };
        let text = "x".repeat(8 << 20);
        large.params.arguments = Some(serde_json::Map::from_iter([("text".to_owned(), text.into())]));
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            caller.cancel.cancel();
        };
        let request = ClientRequest::CallToolRequest(large);
        let asking = session.server("one").request(request, Arc::clone(&caller) as _);
        let (answer, ()) = tokio::join!(asking, cancel);
        assert_eq!(answer.unwrap_err(), CallError::Cancelled);
    }
    // Nobody waits for anything any more, and yet it is found out.
    let gone = || session.server("one").instance().connected().is_none();
    until(gone, || "nobody found out".to_owned()).await;
    puppet.blocked.store(false, Ordering::SeqCst);
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
    assert_eq!(puppet.starts(), 2);
}
