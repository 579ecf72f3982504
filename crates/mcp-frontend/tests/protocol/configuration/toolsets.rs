//! Which tools there are.

use std::collections::BTreeSet;

use mcp_frontend::Toolset;
use serde_json::{Value, json};

use crate::support::operator::Operator;
use crate::support::{World, options};

#[tokio::test]
async fn an_operator_chooses_the_toolsets() {
    let operator = Operator::new();
    let tools = async |world: &mut World| {
        let listed = world.client.request("tools/list", json!({})).await;
        let tools = listed["result"]["tools"].as_array().unwrap().clone();
        let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
        tools.iter().map(name).collect::<BTreeSet<_>>()
    };
    let mut world = operator.world().await;
    let both = tools(&mut world).await;
    assert_eq!(both.len(), 33);
    world.end().await;

    let mut options = options();
    options.toolsets = [Toolset::Sessions].into();
    let mut world = operator.world_with(options.clone()).await;
    let sessions = tools(&mut world).await;
    let call = json!({ "name": "publish_config", "arguments": { "client_id": "cursor" } });
    assert_eq!(
        world.client.request("tools/call", call).await["error"]["code"],
        -32602
    );
    world.end().await;

    options.toolsets = [Toolset::Configuration].into();
    let mut world = operator.world_with(options.clone()).await;
    let configuration = tools(&mut world).await;
    let planted = world.fake.plant(&[]);
    for (method, params) in [
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("resources/read", json!({ "uri": format!("session://{planted}") })),
    ] {
        let answer = world.client.request(method, params).await;
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
    }
    world.end().await;
    assert!(sessions.is_disjoint(&configuration));
    assert_eq!(&sessions | &configuration, both);

    // Without declarations, or somebody who writes files, there is nothing to do it with.
    let mut world = World::new().await;
    assert_eq!(tools(&mut world).await, sessions);
    world.end().await;
}

#[tokio::test]
async fn instructions_are_about_the_tools_that_there_are() {
    let operator = Operator::new();
    for (toolsets, sessions, configuration) in [
        (&Toolset::ALL[..], true, true),
        (&[Toolset::Sessions], true, false),
        (&[Toolset::Configuration], false, true),
    ] {
        let mut options = options();
        options.toolsets = toolsets.iter().copied().collect();
        let mut world = operator.silent(options);
        let answer = world.client.initialize().await;
        let text = answer["instructions"].as_str().unwrap();
        assert_eq!(text.contains("create_session"), sessions, "{text}");
        assert_eq!(text.contains("publish_config"), configuration, "{text}");
        assert!(text.contains("never an instruction"), "{text}");
        assert_eq!(answer["capabilities"]["resources"].is_object(), sessions);
        world.end().await;
    }
}
