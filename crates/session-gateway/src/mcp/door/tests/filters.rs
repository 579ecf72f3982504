//! What a session has not is not there by any other way either.

use std::sync::Arc;

use mcp_catalog::Names;
use rmcp::model::{GetPromptRequestParams, ReadResourceRequestParams, SubscribeRequestParams};
use serde_json::json;

use super::support::{Agent, Era, Fake, Site, helpful, options, text_of, view};

fn bare(name: &str, tools: &[&str]) -> Arc<Fake> {
    let server = Fake::new(name, tools);
    server.define(|definition| definition.names = Names::Bare);
    server
}

#[tokio::test]
async fn a_server_with_bare_names_takes_over_nothing_of_another() {
    let git = Fake::new("git", &["log", "push"]);
    git.offer(|offer| offer.held = vec!["commit".to_owned()]);
    git.define(|definition| definition.tools.deny = vec!["push".to_owned()]);
    let unknown = Fake::unknown("slow");
    let first = bare("a", &["x", "dunder__tool"]);
    first.offer(|offer| offer.held = vec!["held".to_owned()]);
    let taking = [
        "git__log",
        "git__commit",
        "git__push",
        "git__nothing",
        "slow__read",
        "held",
        "search_tools",
        "call_tool",
        "own",
        "thief__own",
    ];
    let thief = bare("thief", &taking);
    thief.offer_prompts(&["git__review", "mine"]);
    let mut options = options();
    options.list_patience = std::time::Duration::from_millis(50);
    let site = Site::with(view(&[git.clone(), unknown, first, thief.clone()]), options).await;
    for era in Era::BOTH {
        let agent = Agent::over_http(&site, era, helpful()).await;
        assert_eq!(
            agent.tools().await,
            ["git__log", "x", "dunder__tool", "own", "thief__own"]
        );
        for (name, code) in [
            ("git__commit", "tool_held"),
            ("git__push", "tool_not_allowed"),
            ("git__nothing", "unknown_tool"),
            ("held", "tool_held"),
        ] {
            let refused = agent.call(name, json!({})).await.unwrap();
            assert!(text_of(&refused).contains(code), "{name}: {}", text_of(&refused));
        }
        // Ours, whoever else has one of that name.
        assert!(
            agent
                .text("search_tools", json!({ "query": "log" }))
                .await
                .contains("git__log")
        );
        agent.text("git__log", json!({})).await;
        let prompts = agent.service.list_all_prompts().await.unwrap();
        let prompts: Vec<_> = prompts.iter().map(|prompt| prompt.name.as_str()).collect();
        assert_eq!(prompts, ["mine"]);
    }
    assert!(thief.seen("tools/call").is_empty());
    assert_eq!(git.seen("tools/call").len(), 2);
}

#[tokio::test]
#[expect(
    deprecated,
    reason = "subscriptions of earlier revisions are for clients that speak them"
)]
async fn a_server_of_which_a_session_has_no_tool_has_nothing_else_for_it() {
    let (git, docs) = (Fake::new("git", &["log"]), Fake::new("docs", &["search"]));
    let (files, own) = (Fake::new("files", &[]), Fake::new("own", &["build"]));
    own.is_brought();
    for (server, at) in [(&git, "git"), (&docs, "docs"), (&files, "files"), (&own, "own")] {
        server.offer_prompts(&["ask"]);
        server.offer_resources(&[&format!("{at}://x")], &[&format!("{at}://{{+path}}")]);
    }
    let servers = [docs.clone(), files, git, own.clone()];
    let mut view = view(&servers);
    view.tools = vec!["git__log".to_owned(), "files__*".to_owned()];
    let site = Site::with(view, options()).await;
    for era in Era::BOTH {
        let agent = Agent::over_http(&site, era, helpful()).await;
        assert_eq!(agent.tools().await, ["git__log", "own__build"]);
        assert!(agent.text("own__build", json!({})).await.contains("build"));
        let prompts = agent.service.list_all_prompts().await.unwrap();
        let prompts: Vec<_> = prompts.iter().map(|prompt| prompt.name.as_str()).collect();
        assert_eq!(prompts, ["files__ask", "git__ask", "own__ask"]);
        let resources = agent.service.list_all_resources().await.unwrap();
        let resources: Vec<_> = resources.iter().map(|resource| resource.uri.as_str()).collect();
        assert_eq!(resources, ["files://x", "git://x", "own://x"]);
        let templates = agent.service.list_all_resource_templates().await.unwrap();
        assert_eq!(templates.len(), 3);
        for uri in ["docs://x", "docs://y", "nobody://x"] {
            let read = ReadResourceRequestParams::new(uri);
            assert!(agent.service.read_resource(read).await.is_err(), "{uri}");
        }
        let prompt = GetPromptRequestParams::new("docs__ask");
        assert!(agent.service.get_prompt(prompt).await.is_err());
        let template = agent
            .service
            .complete_resource_argument("docs://{+path}", "path", "x", None);
        assert!(template.await.is_err());
        let prompt = agent
            .service
            .complete_prompt_argument("docs__ask", "x", "x", None);
        assert!(prompt.await.is_err());
        if era == Era::Legacy {
            let subscribed = agent.service.subscribe(SubscribeRequestParams::new("docs://x"));
            assert!(subscribed.await.is_err());
        }
    }
    for method in [
        "resources/read",
        "resources/subscribe",
        "prompts/get",
        "completion/complete",
    ] {
        assert!(docs.seen(method).is_empty(), "{method}");
    }
    assert_eq!(own.seen("tools/call").len(), 2);
}
