//! Tools that are found instead of listed.

use std::sync::Arc;

use mcp_catalog::Names;
use serde_json::{Value, json};

use super::support::{Agent, Era, Fake, Raw, Site, helpful, options, text_of, tool, view};

/// 500 tools of 25 servers.
fn many() -> Vec<Arc<Fake>> {
    let verbs = ["create", "delete", "list", "update", "search"];
    let things = ["issue", "page", "branch", "invoice"];
    (0..25)
        .map(|number| {
            let server = Fake::unknown(&format!("server-{number:02}"));
            server.define(|definition| definition.description = Some(format!("The {number}th of many")));
            server.offer(|offer| {
                for verb in verbs {
                    for thing in things {
                        let about = format!(
                            "Will {verb} one {thing} in the system number {number}. {}",
                            "x ".repeat(100)
                        );
                        offer.tools.push(tool(&format!("{verb}_{thing}"), &about));
                    }
                }
            });
            server
        })
        .collect()
}

async fn searching(servers: &[Arc<Fake>]) -> Site {
    let mut view = view(servers);
    view.search_above = 40;
    Site::with(view, options()).await
}

#[tokio::test]
async fn five_hundred_tools_cost_less_than_two_kilobytes() {
    let site = searching(&many()).await;
    let mut raw = Raw::connect(&site).await;
    let answer = raw.modern("tools/list", json!({}), &json!({})).await;
    let listed = answer["result"]["tools"].to_string();
    assert!(listed.len() < 2048, "{} bytes: {listed}", listed.len());
    assert_eq!(answer["result"]["tools"].as_array().unwrap().len(), 2);
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    assert_eq!(agent.tools().await, ["search_tools", "call_tool"]);
    let info = agent.service.peer_info().unwrap();
    let told = info.instructions.clone().unwrap();
    assert!(
        told.contains("server-07 (The 7th of many)") && told.contains("search_tools"),
        "{told}"
    );
    assert!(told.len() < 2048, "{} bytes", told.len());
}

async fn found(agent: &Agent, query: Value) -> Value {
    agent
        .call("search_tools", query)
        .await
        .unwrap()
        .structured_content
        .unwrap()
}

#[tokio::test]
async fn what_is_found_can_be_called_both_ways() {
    let servers = many();
    let site = searching(&servers).await;
    for era in Era::BOTH {
        let agent = Agent::over_http(&site, era, helpful()).await;
        let result = found(
            &agent,
            json!({ "query": "search an invoice", "server": "server-11" }),
        )
        .await;
        let first = &result["tools"][0];
        assert_eq!(first["name"], "server-11__search_invoice");
        assert_eq!(first["inputSchema"]["type"], "object");
        assert!(
            first["description"]
                .as_str()
                .unwrap()
                .starts_with("Will search one invoice")
        );
        assert_eq!(result["tools"].as_array().unwrap().len(), 5);
        let arguments = json!({ "name": "server-11__search_invoice", "arguments": { "text": "x" } });
        let through = agent.text("call_tool", arguments).await;
        let by_name = agent
            .text("server-11__search_invoice", json!({ "text": "x" }))
            .await;
        assert_eq!(through, by_name);
        assert!(
            through.contains(r#""tool":"search_invoice""#) && through.contains(r#""text":"x""#),
            "{through}"
        );
    }
}

#[tokio::test]
async fn searching_obeys_filters_and_what_is_held() {
    let servers = many();
    servers[3].offer(|offer| {
        offer.tools.retain(|tool| tool.name != "create_page");
        offer.held = vec!["create_page".to_owned()];
    });
    let mut view = view(&servers);
    view.search = true;
    view.tools = vec!["server-03__*".to_owned()];
    let site = Site::with(view, options()).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let result = found(&agent, json!({ "query": "create page", "limit": 20 })).await;
    let names: Vec<&str> = result["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(
        !names.is_empty() && names.iter().all(|name| name.starts_with("server-03__")),
        "{names:?}"
    );
    assert!(!names.contains(&"server-03__create_page"), "{names:?}");
    let held = agent
        .text("call_tool", json!({ "name": "server-03__create_page" }))
        .await;
    assert!(held.contains("cofferdam mcp approve server-03"), "{held}");
    let filtered = agent
        .text("call_tool", json!({ "name": "server-04__create_page" }))
        .await;
    assert!(filtered.contains("may not use it"), "{filtered}");
    assert!(servers.iter().all(|server| server.seen("tools/call").is_empty()));
}

#[tokio::test]
async fn a_search_that_is_wrong_or_finds_nothing_says_what_to_do() {
    let site = searching(&many()).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let nothing = found(&agent, json!({ "query": "weather on mars" })).await;
    assert!(
        nothing["hint"].as_str().unwrap().contains("server-00"),
        "{nothing}"
    );
    let first = found(&agent, json!({ "query": "", "server": "server-02", "limit": 2 })).await;
    assert_eq!(first["tools"].as_array().unwrap().len(), 2);
    assert_eq!(first["more"], 18);
    for wrong in [
        json!({ "query": 7 }),
        json!({ "q": "x" }),
        json!({ "query": "x", "limit": -1 }),
    ] {
        let refused = agent.call("search_tools", wrong.clone()).await.unwrap();
        assert_eq!(refused.is_error, Some(true), "{wrong}");
        assert!(text_of(&refused).contains("invalid_arguments"), "{refused:?}");
    }
    let refused = agent.call("call_tool", json!({ "arguments": {} })).await.unwrap();
    assert!(text_of(&refused).contains("invalid_arguments"), "{refused:?}");
    let unknown = agent
        .text("call_tool", json!({ "name": "server-00__nothing" }))
        .await;
    assert!(unknown.contains("find tools with search_tools"), "{unknown}");
}

#[tokio::test]
async fn few_tools_are_listed_and_a_servers_own_search_is_its_own() {
    let server = Fake::new("docs", &["search_tools"]);
    server.define(|definition| definition.names = Names::Bare);
    let site = searching(std::slice::from_ref(&server)).await;
    let agent = Agent::over_http(&site, Era::Modern, helpful()).await;
    assert_eq!(agent.tools().await, ["search_tools"]);
    agent.text("search_tools", json!({ "text": "x" })).await;
    assert_eq!(server.seen("tools/call").len(), 1);
}
