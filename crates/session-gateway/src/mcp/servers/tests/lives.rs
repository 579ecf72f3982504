//! Starts, crashes, hangs, ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use session_core::gateway::{DoorEvent, McpGrant};
use session_core::mcp::ServerState;
use tokio::time::Instant;

use super::lab::{Lab, limits, until};
use crate::mcp::call::{CallError, FailureCause};
use crate::mcp::config::McpLimits;

#[tokio::test]
async fn many_callers_are_one_start() {
    let lab = Lab::new(&[("one", "")], limits());
    *lab.puppet("one").slow.lock().unwrap() = Duration::from_millis(50);
    let session = Arc::new(lab.session(&["one"]).await);
    assert_eq!(lab.puppet("one").starts(), 0, "nobody has called");
    let calls = (0..50).map(|_| {
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.call("one", "echo").await })
    });
    for call in futures::future::join_all(calls).await {
        assert_eq!(call.unwrap().unwrap(), "hello");
    }
    assert_eq!(lab.puppet("one").starts(), 1);
}

#[tokio::test]
async fn a_list_is_served_from_what_is_kept_without_a_start() {
    let lab = Lab::new(&[("one", "")], limits());
    let first = lab.session(&["one"]).await;
    let offer = first.server("one").offer().await.unwrap();
    assert_eq!(lab.puppet("one").starts(), 1, "nothing was known");
    lab.registry.dismiss(&first.id).await;

    let second = lab.session(&["one"]).await;
    assert_eq!(*second.server("one").offer().await.unwrap(), *offer);
    assert_eq!(lab.puppet("one").starts(), 1, "it was known");
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_held_off_longer_each_time_and_given_up() {
    let lab = Lab::new(&[("one", "")], limits());
    lab.puppet("one").failing.store(usize::MAX, Ordering::SeqCst);
    let session = lab.session(&["one"]).await;
    let begun = Instant::now();
    for failures in 1..=3 {
        let error = session.call("one", "echo").await.unwrap_err();
        assert!(
            matches!(&error, CallError::NotSent(failure) if failure.cause == FailureCause::Missing),
            "{error:?}"
        );
        assert_eq!(session.server("one").status().failures, failures);
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(20 + 40),
        "{:?}",
        begun.elapsed()
    );
    let status = session.wait("one", ServerState::GaveUp).await;
    assert_eq!(status.reason.as_deref(), Some("there is no such program"));
    assert!(
        status.retry_in_ms.is_some_and(|ms| (1..=400).contains(&ms)),
        "{status:?}"
    );
    assert_eq!(lab.puppet("one").starts(), 3);

    // One more try after the longest pause, and it comes back.
    lab.puppet("one").failing.store(0, Ordering::SeqCst);
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
    until(
        || session.server("one").status().failures == 0,
        || "no proof".to_owned(),
    )
    .await;
}

#[tokio::test]
async fn a_call_that_succeeds_is_the_proof_that_ends_a_row_of_failures() {
    let long = McpLimits {
        max_backoff: Duration::from_secs(60),
        ..limits()
    };
    let lab = Lab::new(&[("one", "")], long);
    lab.puppet("one").failing.store(1, Ordering::SeqCst);
    let session = lab.session(&["one"]).await;
    session.call("one", "echo").await.unwrap_err();
    session.call("one", "echo").await.unwrap();
    until(
        || session.server("one").status().failures == 0,
        || "no proof".to_owned(),
    )
    .await;
}

#[tokio::test]
async fn who_would_wait_too_long_is_told_when_to_come_again() {
    let patient = McpLimits {
        backoff: Duration::from_secs(60),
        max_backoff: Duration::from_secs(60),
        ..limits()
    };
    let lab = Lab::new(&[("one", "")], patient);
    lab.puppet("one").failing.store(1, Ordering::SeqCst);
    let session = lab.session(&["one"]).await;
    session.call("one", "echo").await.unwrap_err();
    let error = session.call("one", "echo").await.unwrap_err();
    let CallError::NotSent(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.cause, FailureCause::HeldOff);
    assert_eq!(
        failure.detail,
        "it failed 1 times in a row and is tried again in 60 s; last: there is no such program"
    );
}

#[tokio::test]
async fn a_crash_is_may_have_run_unless_the_tool_may_run_twice() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    let error = session.call("one", "crash").await.unwrap_err();
    assert!(
        matches!(&error, CallError::MayHaveRun(failure) if failure.cause == FailureCause::Ended),
        "{error:?}"
    );
    assert_eq!(lab.puppet("one").ran(), 1, "sent once");

    let lab = Lab::new(&[("one", "")], limits());
    let session = lab.session(&["one"]).await;
    assert_eq!(session.call("one", "crash_once").await.unwrap(), "hello");
    assert_eq!(
        (lab.puppet("one").starts(), lab.puppet("one").heard("tools/call")),
        (2, 2)
    );
}

#[tokio::test]
async fn what_the_operator_declares_idempotent_is_sent_again_and_only_once() {
    let lab = Lab::new(&[("one", "idempotent = [\"crash\"]")], limits());
    let session = lab.session(&["one"]).await;
    let error = session.call("one", "crash").await.unwrap_err();
    assert!(matches!(error, CallError::MayHaveRun(_)), "{error:?}");
    assert_eq!(lab.puppet("one").heard("tools/call"), 2, "once more, and no more");
}

#[tokio::test]
async fn a_thousand_kills_leave_nothing_and_the_next_call_succeeds() {
    let quick = McpLimits {
        backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(5),
        ..limits()
    };
    let lab = Lab::new(&[("one", "")], quick);
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    for kill in 0..1000 {
        assert_eq!(
            session.call("one", "echo").await.unwrap(),
            "hello",
            "after {kill} kills"
        );
        puppet.kill();
    }
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
    assert!(puppet.starts() > 900, "{}", puppet.starts());
    lab.registry.shutdown().await;
    assert_eq!(puppet.alive(), 0);
}

#[tokio::test]
async fn a_server_that_hangs_is_ended_and_the_next_call_has_another() {
    let lab = Lab::new(&[("one", "times = { call_ms = 200 }")], limits());
    let session = lab.session(&["one"]).await;
    session.call("one", "echo").await.unwrap();
    let puppet = lab.puppet("one");
    puppet.frozen.store(true, Ordering::SeqCst);
    let error = session.call("one", "count").await.unwrap_err();
    assert!(
        matches!(&error, CallError::MayHaveRun(failure) if failure.cause == FailureCause::Silent),
        "{error:?}"
    );
    let status = session.wait("one", ServerState::Failed).await;
    assert_eq!(
        status.reason.as_deref(),
        Some("it answers neither calls nor pings")
    );
    assert_eq!(puppet.alive(), 0, "it was ended");
    puppet.frozen.store(false, Ordering::SeqCst);
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
    assert_eq!(puppet.starts(), 2);
}

#[tokio::test]
async fn a_call_that_hangs_is_taken_back_and_a_server_that_lives_is_not_ended() {
    let lab = Lab::new(&[("one", "times = { call_ms = 200 }")], limits());
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    let error = session.call("one", "hang").await.unwrap_err();
    assert!(matches!(error, CallError::MayHaveRun(_)), "{error:?}");
    until(
        || puppet.heard("notifications/cancelled") == 1,
        || "not taken back".to_owned(),
    )
    .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
    assert_eq!(puppet.starts(), 1, "it answers pings");
}

#[tokio::test]
async fn a_server_that_answers_calls_and_no_pings_is_let_be() {
    let lab = Lab::new(&[("one", "times = { call_ms = 1500 }")], limits());
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    puppet.deaf.store(true, Ordering::SeqCst);
    let waiting = session.call("one", "wait");
    let waking = async {
        // Long enough for several health checks.
        tokio::time::sleep(Duration::from_millis(800)).await;
        puppet.go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(waiting, waking);
    assert_eq!(answer.unwrap(), "hello");
    assert!(puppet.heard("ping") >= 1, "it was asked");
    assert_eq!(puppet.starts(), 1);
}

#[tokio::test]
async fn progress_keeps_a_call_alive_but_not_for_ever() {
    let lab = Lab::new(
        &[("one", "times = { call_ms = 200, call_max_ms = 800 }")],
        limits(),
    );
    let session = lab.session(&["one"]).await;
    let begun = Instant::now();
    let error = session.call("one", "tick").await.unwrap_err();
    let CallError::MayHaveRun(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.detail, "no answer within 1 s");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(800) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[tokio::test]
async fn an_idle_server_is_stopped_and_the_next_call_starts_it() {
    let lab = Lab::new(&[("one", "times = { idle_ms = 100 }")], limits());
    let session = lab.session(&["one"]).await;
    session.call("one", "echo").await.unwrap();
    let puppet = lab.puppet("one");
    session.wait("one", ServerState::Idle).await;
    assert_eq!(puppet.alive(), 0);
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
    assert_eq!(puppet.starts(), 2);
    assert!(session.ledger.events().is_empty(), "idling is no event");
}

#[tokio::test]
async fn a_server_with_a_call_under_way_is_not_idle() {
    let lab = Lab::new(&[("one", "times = { idle_ms = 100 }")], limits());
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    let waking = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        puppet.go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(session.call("one", "wait"), waking);
    assert_eq!(answer.unwrap(), "hello");
    assert_eq!(puppet.starts(), 1);
}

#[tokio::test]
async fn a_server_that_hangs_in_its_start_fails_in_time() {
    let lab = Lab::new(&[("one", "times = { start_ms = 200 }")], limits());
    lab.puppet("one").frozen.store(true, Ordering::SeqCst);
    let session = lab.session(&["one"]).await;
    let error = session.call("one", "echo").await.unwrap_err();
    assert!(
        matches!(&error, CallError::NotSent(failure) if failure.cause == FailureCause::Silent),
        "{error:?}"
    );
    until(|| lab.puppet("one").alive() == 0, || "it lives".to_owned()).await;
}

#[tokio::test]
async fn what_goes_wrong_is_told_once_and_so_is_its_end() {
    let lab = Lab::new(&[("one", "")], limits());
    let puppet = lab.puppet("one");
    puppet.failing.store(4, Ordering::SeqCst);
    let session = lab.session(&["one"]).await;
    while session.call("one", "echo").await.is_err() {}
    let events = session.ledger.wait_for_events(3).await;
    let states: Vec<_> = events
        .iter()
        .map(|event| match event {
            DoorEvent::McpServer { status } => status.state,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        states,
        [ServerState::Failed, ServerState::GaveUp, ServerState::Ready]
    );
}

#[tokio::test]
async fn shutdown_leaves_nothing_and_starts_nothing() {
    let lab = Lab::new(&[("one", ""), ("two", "sharing = \"shared\"")], limits());
    let session = Arc::new(lab.session(&["one", "two"]).await);
    session.call("one", "echo").await.unwrap();
    session.call("two", "echo").await.unwrap();
    let hanging = {
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.call("one", "hang").await })
    };
    until(|| lab.puppet("one").ran() == 2, || "not called".to_owned()).await;
    lab.registry.shutdown().await;
    assert_eq!((lab.puppet("one").alive(), lab.puppet("two").alive()), (0, 0));
    assert!(matches!(hanging.await.unwrap(), Err(CallError::MayHaveRun(_))));
    assert!(matches!(
        session.call("one", "echo").await,
        Err(CallError::NotSent(_))
    ));
    assert_eq!(lab.puppet("one").starts(), 1);
    let (grant, ledger) = (McpGrant::default(), Arc::new(session.ledger.clone()));
    let late = lab.registry.admit(session.id, &grant, ledger).await;
    assert!(late.is_err(), "nobody is taken any more");
}

#[tokio::test]
async fn a_session_that_is_dismissed_takes_its_servers_with_it_also_those_that_start() {
    let lab = Lab::new(&[("one", "")], limits());
    let puppet = lab.puppet("one");
    *puppet.slow.lock().unwrap() = Duration::from_secs(60);
    let session = Arc::new(lab.session(&["one"]).await);
    let calling = {
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.call("one", "echo").await })
    };
    until(|| puppet.alive() == 1, || "not started".to_owned()).await;
    lab.registry.dismiss(&session.id).await;
    assert!(matches!(calling.await.unwrap(), Err(CallError::NotSent(_))));
    until(|| puppet.alive() == 0, || "it lives".to_owned()).await;
}

#[tokio::test]
async fn with_all_places_taken_the_one_that_idles_longest_makes_room() {
    let few = McpLimits {
        max_instances: 2,
        ..limits()
    };
    let lab = Lab::new(&[("one", ""), ("two", ""), ("three", "")], few);
    let session = Arc::new(lab.session(&["one", "two", "three"]).await);
    for server in ["one", "two", "three"] {
        assert_eq!(session.call(server, "echo").await.unwrap(), "hello");
    }
    assert_eq!(lab.puppet("one").alive(), 0, "it made room");
    assert_eq!((lab.puppet("two").alive(), lab.puppet("three").alive()), (1, 1));

    // While all of them work there is none.
    for server in ["two", "three"] {
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.call(server, "wait").await });
    }
    until(
        || lab.puppet("two").ran() == 2 && lab.puppet("three").ran() == 2,
        || "not called".to_owned(),
    )
    .await;
    let error = session.call("one", "echo").await.unwrap_err();
    assert!(
        matches!(&error, CallError::NotSent(failure) if failure.cause == FailureCause::Unavailable),
        "{error:?}"
    );
}
