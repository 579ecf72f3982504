//! What changes, and who is told: lists, resources, messages.
#![expect(deprecated, reason = "logging is for clients that use it")]

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    LoggingLevel, LoggingMessageNotificationParam, ServerNotification, SetLevelRequestParams,
    SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
};
use serde_json::{Value, json};

use super::support::{Agent, Era, Fake, Raw, Site, able, helpful, text};
use crate::mcp::servers::Change;

fn message(level: LoggingLevel, data: Value) -> Change {
    Change::Log(Arc::new(LoggingMessageNotificationParam::new(level, data)))
}

#[tokio::test]
async fn a_client_with_a_session_is_told_of_each_list() {
    let server = Fake::new("git", &["log"]);
    let site = Site::new(std::slice::from_ref(&server)).await;
    for agent in [
        Agent::over_http(&site, Era::Legacy, helpful()).await,
        Agent::over_lines(&site, Era::Legacy, helpful()).await,
    ] {
        // A round trip, so that the client's word of being initialized has come through.
        agent.tools().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.change(Change::PromptsChanged);
        agent
            .hears(|heard| heard.lists.contains(&"prompts").then_some(()))
            .await;
        server.change(Change::ToolsChanged);
        server.change(Change::ResourcesChanged);
        agent.hears(|heard| (heard.lists.len() >= 3).then_some(())).await;
        agent.service.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_without_a_session_is_told_what_it_listens_to() {
    let server = Fake::new("git", &["log"]);
    server.offer_resources(&["x://a", "x://b"], &[]);
    // Two have resources, so that one that nobody listed is nobody's.
    let site = Site::new(&[server.clone(), Fake::new("docs", &[])]).await;
    for agent in [
        Agent::over_http(&site, Era::Modern, helpful()).await,
        Agent::over_lines(&site, Era::Modern, helpful()).await,
    ] {
        let filter = SubscriptionFilter::builder()
            .tools_list_changed()
            .resource_subscription("x://a")
            .resource_subscription("x://unknown")
            .build();
        let mut listening = agent.service.listen(filter).await.unwrap();
        for _ in 0..100 {
            if !server.seen("resources/subscribe").is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(server.seen("resources/subscribe").last().unwrap()["uri"], "x://a");
        for change in [
            Change::PromptsChanged,
            Change::ResourceUpdated("x://b".to_owned()),
            Change::ResourceUpdated("x://a".to_owned()),
        ] {
            server.change(change);
        }
        let next = tokio::time::timeout(Duration::from_secs(5), listening.next())
            .await
            .unwrap();
        let Some(ServerNotification::ResourceUpdatedNotification(updated)) = next.unwrap() else {
            panic!("the resource that it listens to")
        };
        assert_eq!(updated.params.uri, "x://a");
        server.change(Change::ToolsChanged);
        let next = tokio::time::timeout(Duration::from_secs(5), listening.next())
            .await
            .unwrap();
        assert!(matches!(
            next.unwrap(),
            Some(ServerNotification::ToolListChangedNotification(_))
        ));
        let before = server.seen("resources/unsubscribe").len();
        listening.cancel().await.unwrap();
        for _ in 0..300 {
            if server.seen("resources/unsubscribe").len() > before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(
            server.seen("resources/unsubscribe").len(),
            before + 1,
            "its server is told of the end"
        );
    }
}

#[tokio::test]
async fn subscriptions_of_a_session_are_its_own() {
    let server = Fake::new("git", &["log"]);
    server.offer_resources(&["x://a"], &["y://{id}"]);
    let silent = Fake::new("silent", &[]);
    silent.offer(|offer| {
        offer.capabilities = able();
        offer.capabilities.resources.as_mut().unwrap().subscribe = None;
    });
    silent.offer_resources(&["z://a"], &[]);
    let site = Site::new(&[server.clone(), silent]).await;
    let subscriber = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let other = Agent::over_http(&site, Era::Legacy, helpful()).await;
    for uri in ["x://a", "y://7", "x://a"] {
        subscriber
            .service
            .subscribe(SubscribeRequestParams::new(uri))
            .await
            .unwrap();
    }
    assert!(
        subscriber
            .service
            .subscribe(SubscribeRequestParams::new("z://a"))
            .await
            .is_err()
    );
    assert!(
        subscriber
            .service
            .subscribe(SubscribeRequestParams::new("q://a"))
            .await
            .is_err()
    );
    assert_eq!(server.seen("resources/subscribe").len(), 2);
    server.change(Change::ResourceUpdated("x://a".to_owned()));
    server.change(Change::ResourceUpdated("y://7".to_owned()));
    subscriber
        .hears(|heard| (heard.updated.len() == 2).then_some(()))
        .await;
    subscriber
        .service
        .unsubscribe(UnsubscribeRequestParams::new("x://a"))
        .await
        .unwrap();
    assert_eq!(server.seen("resources/unsubscribe").len(), 1);
    // Somebody else listens on.
    other
        .service
        .subscribe(SubscribeRequestParams::new("y://7"))
        .await
        .unwrap();
    other
        .service
        .unsubscribe(UnsubscribeRequestParams::new("y://7"))
        .await
        .unwrap();
    assert_eq!(server.seen("resources/subscribe").len(), 2);
    assert_eq!(server.seen("resources/unsubscribe").len(), 1);
    server.change(Change::ResourceUpdated("x://a".to_owned()));
    server.change(Change::ToolsChanged);
    subscriber
        .hears(|heard| heard.lists.contains(&"tools").then_some(()))
        .await;
    assert_eq!(subscriber.heard.lock().unwrap().updated.len(), 2);
    assert!(other.heard.lock().unwrap().updated.is_empty());
    // Who goes is nobody who listens.
    subscriber.service.cancel().await.unwrap();
    for _ in 0..300 {
        if server.seen("resources/unsubscribe").len() == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server is not told that nobody listens any more");
}

#[tokio::test]
async fn messages_come_from_the_level_on_that_was_set_under_their_servers_name() {
    let server = Fake::new("git", &["log"]);
    let site = Site::new(std::slice::from_ref(&server)).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    agent
        .service
        .set_level(SetLevelRequestParams::new(LoggingLevel::Warning))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.seen("logging/setLevel")[0]["level"], "warning");
    server.change(message(LoggingLevel::Info, json!("quiet")));
    server.change(message(LoggingLevel::Error, json!("x".repeat(1 << 20))));
    server.change(message(LoggingLevel::Error, json!("loud")));
    let heard = agent.hears(|heard| heard.logs.first().cloned()).await;
    assert_eq!(
        (&heard["data"], &heard["logger"]),
        (&json!("loud"), &json!("git"))
    );
}

#[tokio::test]
async fn messages_go_with_the_request_that_wants_them() {
    let server = Fake::new("git", &["logs"]);
    let logging = server.clone();
    server.on("logs", move |_, _| {
        let logging = logging.clone();
        async move {
            logging.change(message(LoggingLevel::Debug, json!("too quiet")));
            logging.change(message(LoggingLevel::Warning, json!("heard")));
            text("done")
        }
    });
    let site = Site::new(std::slice::from_ref(&server)).await;
    let mut raw = Raw::connect(&site).await;
    let params = json!({ "name": "git__logs", "_meta": { "io.modelcontextprotocol/logLevel": "info" } });
    let (_, _, body) = raw.modern_raw("tools/call", params, &json!({})).await;
    assert!(body.contains("heard") && !body.contains("too quiet"), "{body}");
    assert!(body.find("heard") < body.find("done"), "{body}");
    assert_eq!(server.seen("logging/setLevel")[0]["level"], "info");
    let (_, _, body) = raw
        .modern_raw("tools/call", json!({ "name": "git__logs" }), &json!({}))
        .await;
    assert!(!body.contains("heard"), "it did not ask for them: {body}");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let server = Fake::new("git", &["log"]);
    let site = Site::new(std::slice::from_ref(&server)).await;
    let mut deaf = Raw::connect(&site).await;
    deaf.initialize(json!({})).await;
    let _unread = deaf.send(hyper::Method::GET, &[], "").await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    agent.tools().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    for round in 0..2_000 {
        server.change(message(LoggingLevel::Error, json!("x".repeat(10_000))));
        if round % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    server.change(Change::ToolsChanged);
    agent
        .hears(|heard| heard.lists.contains(&"tools").then_some(()))
        .await;
    assert_eq!(agent.tools().await, ["git__log"]);
}
