//! Every revision of the protocol on one endpoint.

use serde_json::json;

use crate::support::{World, inline, options};

#[tokio::test]
async fn every_revision_with_a_handshake_is_spoken() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut world = World::silent(options());
        let answer = world.client.initialize_as(version, json!({})).await;
        assert_eq!(answer["protocolVersion"], version);
        assert_eq!(answer["serverInfo"]["name"], "cofferdam");
        assert_eq!(answer["serverInfo"]["version"], "0.0.0-test");
        assert!(
            answer["instructions"]
                .as_str()
                .unwrap()
                .contains("create_session")
        );
        assert_eq!(answer["capabilities"]["resources"]["listChanged"], true);
        assert!(answer["capabilities"]["extensions"]["io.modelcontextprotocol/tasks"].is_object());
        let listed = world.client.ok("list_sessions", json!({})).await;
        assert_eq!(listed["total"], 0);
        world.end().await;
    }
}

#[tokio::test]
async fn an_unknown_revision_gets_the_newest_with_a_handshake() {
    let mut world = World::silent(options());
    let answer = world.client.initialize_as("1999-01-01", json!({})).await;
    assert_eq!(answer["protocolVersion"], "2025-11-25");
    world.end().await;
}

#[tokio::test]
async fn the_newest_revision_needs_no_handshake() {
    let mut world = World::silent(options());
    let discovered = world
        .client
        .request("server/discover", json!({ "_meta": inline() }))
        .await;
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert_eq!(versions.len(), 5, "{discovered}");
    let listed = world
        .client
        .request("tools/list", json!({ "_meta": inline() }))
        .await;
    assert_eq!(listed["result"]["resultType"], "complete", "{listed}");
    let called = world
        .client
        .request(
            "tools/call",
            json!({ "name": "list_sessions", "arguments": {}, "_meta": inline() }),
        )
        .await;
    assert_eq!(called["result"]["structuredContent"]["total"], 0, "{called}");
    world.end().await;
}

#[tokio::test]
async fn what_comes_before_the_handshake_does_no_harm() {
    let mut world = World::silent(options());
    world.client.take_back(1).await;
    world.client.send_raw(b"").await;
    world.client.send_raw(b"not json").await;
    assert_eq!(world.client.stray_error().await["error"]["code"], -32700);
    assert_eq!(world.client.request("ping", json!({})).await["result"], json!({}));
    world.client.initialize().await;
    assert_eq!(world.client.request("ping", json!({})).await["result"], json!({}));
    world.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_at_once_and_a_shutdown_before_anybody_came_are_no_failures() {
    World::silent(options()).end().await;
    let world = World::silent(options());
    world.shutdown.cancel();
    world.served.await.unwrap().unwrap();
}
