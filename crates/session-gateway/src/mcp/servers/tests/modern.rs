//! Servers of the revision without a handshake: they tell who listens.

#![expect(
    deprecated,
    reason = "sessions of older revisions subscribe this way, whatever the server speaks"
)]

use std::sync::atomic::Ordering;

use rmcp::model::{ClientRequest, SubscribeRequest, SubscribeRequestParams};

use super::super::hub::Change;
use super::caller::Quiet;
use super::lab::{Lab, limits, until};

#[tokio::test]
async fn what_changes_is_listened_to() {
    let lab = Lab::new(&[("one", "")], limits());
    let puppet = lab.puppet("one");
    puppet.modern.store(true, Ordering::SeqCst);
    let session = lab.session(&["one"]).await;
    assert_eq!(session.call("one", "echo").await.unwrap(), "hello");
    assert_eq!(
        (puppet.heard("initialize"), puppet.heard("server/discover")),
        (0, 1)
    );
    let server = session.server("one");
    let mut changes = server.changes();
    until(
        || puppet.heard("subscriptions/listen") == 1,
        || "not listened to".to_owned(),
    )
    .await;
    puppet.describe("look", "Something else.");
    puppet.go_on.notify_one();
    assert!(matches!(changes.recv().await.unwrap(), Change::ToolsChanged));
    assert_eq!(server.offer().await.unwrap().held, ["look"]);
}

#[tokio::test]
async fn a_subscription_is_listened_to_instead_of_sent() {
    let lab = Lab::new(&[("one", "")], limits());
    let puppet = lab.puppet("one");
    puppet.modern.store(true, Ordering::SeqCst);
    let session = lab.session(&["one"]).await;
    session.call("one", "echo").await.unwrap();
    let server = session.server("one");
    let mut changes = server.changes();
    let params = SubscribeRequestParams::new("test://a");
    let subscribe = ClientRequest::SubscribeRequest(SubscribeRequest::new(params));
    server.request(subscribe, Quiet::new()).await.unwrap();
    until(
        || puppet.heard("subscriptions/listen") == 2,
        || "not listened to again".to_owned(),
    )
    .await;
    assert_eq!(puppet.heard("resources/subscribe"), 0);
    puppet.go_on.notify_waiters();
    let updated = changes.recv().await.unwrap();
    assert!(
        matches!(&updated, Change::ResourceUpdated(uri) if uri == "test://a"),
        "{updated:?}"
    );
}

#[tokio::test]
async fn a_subscription_starts_a_server_that_is_not_there_and_is_listened_to() {
    let lab = Lab::new(&[("one", "")], limits());
    let puppet = lab.puppet("one");
    puppet.modern.store(true, Ordering::SeqCst);
    let session = lab.session(&["one"]).await;
    let params = SubscribeRequestParams::new("test://a");
    let subscribe = ClientRequest::SubscribeRequest(SubscribeRequest::new(params));
    session
        .server("one")
        .request(subscribe, Quiet::new())
        .await
        .unwrap();
    until(
        || puppet.heard("subscriptions/listen") >= 1,
        || "not listened to".to_owned(),
    )
    .await;
    assert_eq!(puppet.heard("resources/subscribe"), 0, "it does not know that");
}
