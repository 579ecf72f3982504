//! Sessions beside each other: instances of their own, or one for all.

#![expect(deprecated, reason = "servers of older revisions are subscribed to this way")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmcp::model::{
    ClientRequest, SubscribeRequest, SubscribeRequestParams, UnsubscribeRequest, UnsubscribeRequestParams,
};
use serde_json::json;
use session_core::gateway::McpGrant;
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, ServerState};
use testkit::ledger::MemoryLedger;

use super::super::hub::Change;
use super::caller::Quiet;
use super::lab::{Lab, limits, until};
use crate::mcp::call::CallError;

#[tokio::test]
async fn each_session_has_an_instance_of_its_own_unless_it_is_shared() {
    let lab = Lab::new(&[("own", ""), ("all", "sharing = \"shared\"")], limits());
    let (a, b) = (
        lab.session(&["own", "all"]).await,
        lab.session(&["own", "all"]).await,
    );
    for session in [&a, &b] {
        session.call("own", "echo").await.unwrap();
        session.call("all", "echo").await.unwrap();
    }
    assert_eq!((lab.puppet("own").alive(), lab.puppet("all").alive()), (2, 1));
    lab.registry.dismiss(&a.id).await;
    assert_eq!(
        (lab.puppet("own").alive(), lab.puppet("all").alive()),
        (1, 1),
        "b's are untouched"
    );
    assert_eq!(b.call("own", "echo").await.unwrap(), "hello");
    assert_eq!(b.call("all", "echo").await.unwrap(), "hello");
}

#[tokio::test]
async fn a_question_of_a_shared_server_never_reaches_another_session() {
    let lab = Lab::new(&[("all", "sharing = \"shared\"")], limits());
    let (a, b) = (lab.session(&["all"]).await, lab.session(&["all"]).await);
    let puppet = lab.puppet("all");
    let (asked, waits) = (Quiet::new(), Quiet::new());
    let asking = a.call_as("all", "ask", Arc::clone(&asked) as _);
    let waiting = b.call_as("all", "wait", Arc::clone(&waits) as _);
    let answered = async {
        until(|| puppet.heard("answer") == 1, || "no answer".to_owned()).await;
        puppet.go_on.notify_waiters();
    };
    // The one that waits comes first, so that both are under way when the question comes.
    let first = async {
        until(|| puppet.ran() == 1, || "not called".to_owned()).await;
        asking.await
    };
    let (one, two, ()) = tokio::join!(first, waiting, answered);
    one.unwrap();
    two.unwrap();
    assert!(
        asked.asked.lock().unwrap().is_empty(),
        "it cannot be told whose it is"
    );
    assert!(waits.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_somebody_listens_to_is_not_idle_and_is_listened_to_again_after_a_crash() {
    let lab = Lab::new(&[("one", "times = { idle_ms = 50 }")], limits());
    let session = lab.session(&["one"]).await;
    let puppet = lab.puppet("one");
    let server = session.server("one");
    let subscribe =
        ClientRequest::SubscribeRequest(SubscribeRequest::new(SubscribeRequestParams::new("test://a")));
    server.request(subscribe, Quiet::new()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((puppet.starts(), puppet.alive()), (1, 1), "not idle");
    puppet.kill();
    until(
        || puppet.heard("resources/subscribe") == 2,
        || "not subscribed again".to_owned(),
    )
    .await;

    let params = UnsubscribeRequestParams::new("test://a");
    let unsubscribe = ClientRequest::UnsubscribeRequest(UnsubscribeRequest::new(params));
    session.wait("one", ServerState::Ready).await;
    server.request(unsubscribe, Quiet::new()).await.unwrap();
    session.wait("one", ServerState::Idle).await;
}

#[tokio::test]
async fn changes_of_resources_go_to_who_subscribed() {
    let lab = Lab::new(&[("all", "sharing = \"shared\"")], limits());
    let (a, b) = (lab.session(&["all"]).await, lab.session(&["all"]).await);
    let (mut for_a, mut for_b) = (a.server("all").changes(), b.server("all").changes());
    let params = SubscribeRequestParams::new("test://a");
    let subscribe = ClientRequest::SubscribeRequest(SubscribeRequest::new(params));
    a.server("all").request(subscribe, Quiet::new()).await.unwrap();
    let hub = &a.server("all").instance().hub;
    hub.updated("test://a");
    hub.updated("test://b");
    loop {
        match for_a.recv().await.unwrap() {
            Change::ResourceUpdated(uri) => {
                assert_eq!(uri, "test://a");
                break;
            }
            // It became known what the server has.
            Change::ToolsChanged | Change::PromptsChanged | Change::ResourcesChanged => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(for_a.try_recv().is_err());
    while let Ok(change) = for_b.try_recv() {
        assert!(!matches!(change, Change::ResourceUpdated(_)), "{change:?}");
    }
}

#[tokio::test]
async fn who_the_operator_takes_away_is_gone_for_running_sessions() {
    let lab = Lab::new(&[("one", ""), ("two", "")], limits());
    let session = lab.session(&["one", "two"]).await;
    session.call("one", "echo").await.unwrap();
    session.call("two", "echo").await.unwrap();
    lab.declare(&[("two", "")]);
    session.wait("one", ServerState::Removed).await;
    assert_eq!(lab.puppet("one").alive(), 0);
    assert!(matches!(
        session.call("one", "echo").await,
        Err(CallError::NotSent(_))
    ));
    assert_eq!(session.call("two", "echo").await.unwrap(), "hello");
    assert_eq!(lab.puppet("two").starts(), 1, "untouched");

    lab.declare(&[("one", ""), ("two", "")]);
    session.wait("one", ServerState::Idle).await;
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
}

#[tokio::test]
async fn a_changed_definition_restarts_when_nobody_calls_and_a_filter_holds_at_once() {
    let lab = Lab::new(&[("one", "")], limits());
    let session = Arc::new(lab.session(&["one"]).await);
    let puppet = lab.puppet("one");
    session.call("one", "echo").await.unwrap();
    lab.declare(&[("one", "tools = { deny = [\"echo\"] }")]);
    let server = session.server("one");
    until(
        || server.offer_if_known().unwrap().tool("echo").is_none(),
        || "not filtered".to_owned(),
    )
    .await;
    assert_eq!(puppet.starts(), 1, "for a filter nobody is started anew");

    let waiting = {
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.call("one", "wait").await })
    };
    until(|| puppet.ran() == 2, || "not called".to_owned()).await;
    lab.declare(&[("one", "args = [\"--new\"]")]);
    until(
        || server.definition().transport != lab_transport(),
        || "not seen".to_owned(),
    )
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(puppet.alive(), 1, "it works still");
    puppet.go_on.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), "hello");
    session.wait("one", ServerState::Idle).await;
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
    assert_eq!(puppet.starts(), 2);
}

fn lab_transport() -> mcp_catalog::Transport {
    mcp_catalog::Transport::Stdio {
        command: "puppet".to_owned(),
        args: Vec::new(),
        env: std::collections::BTreeMap::new(),
        cwd: None,
    }
}

#[tokio::test]
async fn what_a_session_brought_is_not_the_operators_server_of_the_same_name() {
    let lab = Lab::new(&[], limits());
    lab.puppet("docs").failing.store(1, Ordering::SeqCst);
    let grant = McpGrant {
        plan: McpPlan {
            own: vec!["docs".parse().unwrap()],
            ..McpPlan::default()
        },
        own: Some(json!({"mcpServers": {"docs": {"command": "docs"}}})),
    };
    let ledger = Arc::new(MemoryLedger::default());
    let servers = lab
        .registry
        .admit(SessionId::new(), &grant, ledger)
        .await
        .unwrap();
    servers[0]
        .request(super::lab::call("echo"), Quiet::new())
        .await
        .unwrap_err();
    assert_eq!(servers[0].status().state, ServerState::Failed);
    lab.declare(&[("docs", "")]);
    let declared = lab.another_process().declared().unwrap();
    let status = lab.registry.declared_status(&declared);
    assert_eq!((status[0].state, status[0].failures), (ServerState::Idle, 0));
}
