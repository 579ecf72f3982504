//! What an agent sees: names, filters, what is held, and servers that take their time.

use std::time::{Duration, Instant};

use mcp_catalog::Names;
use rmcp::model::{
    ClientRequest, GetPromptRequestParams, GetPromptResult, PromptMessage, ReadResourceRequestParams,
    ReadResourceResult, ResourceContents, Role, ServerResult,
};
use serde_json::json;

use super::support::{Agent, Era, Fake, Site, able, helpful, options, tool, view};
use crate::mcp::call::{CallError, Failure, FailureCause};

fn git() -> std::sync::Arc<Fake> {
    Fake::new("git", &["log", "status"])
}

#[tokio::test]
async fn tools_carry_the_name_of_their_server_and_lead_to_it() {
    let servers = [Fake::new("docs", &["search"]), git()];
    let site = Site::new(&servers).await;
    for era in Era::BOTH {
        for agent in [
            Agent::over_http(&site, era, helpful()).await,
            Agent::over_lines(&site, era, helpful()).await,
        ] {
            assert_eq!(
                agent.tools().await,
                ["docs__search", "git__log", "git__status"],
                "{era:?}"
            );
            let said = agent.text("git__log", json!({ "text": "x" })).await;
            assert_eq!(said, r#"{"arguments":{"text":"x"},"tool":"log"}"#);
        }
    }
    assert_eq!(servers[1].seen("tools/call").len(), 4);
    assert!(servers[0].seen("tools/call").is_empty());
}

#[tokio::test]
async fn bare_names_lead_to_their_server_and_a_clash_is_settled_by_the_prefix() {
    let (first, second, git) = (
        Fake::new("a", &["x", "y"]),
        Fake::new("b", &["x", "git__log"]),
        git(),
    );
    for bare in [&first, &second] {
        bare.define(|definition| definition.names = Names::Bare);
    }
    let site = Site::new(&[second.clone(), git.clone(), first.clone()]).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    assert_eq!(agent.tools().await, ["git__log", "git__status", "x", "y"]);
    agent.text("x", json!({})).await;
    agent.text("git__log", json!({})).await;
    assert_eq!(first.seen("tools/call").len(), 1);
    assert_eq!(git.seen("tools/call").len(), 1);
    assert!(second.seen("tools/call").is_empty());
}

#[tokio::test]
async fn filters_hide_tools_and_refuse_their_calls() {
    let server = Fake::new("git", &["log", "push", "status"]);
    server.define(|definition| definition.tools.deny = vec!["push".to_owned()]);
    let mut view = view(std::slice::from_ref(&server));
    view.tools = vec!["git__l*".to_owned(), "git__push".to_owned()];
    let site = Site::with(view, options()).await;
    let agent = Agent::over_http(&site, Era::Modern, helpful()).await;
    assert_eq!(agent.tools().await, ["git__log"]);
    for name in ["git__push", "git__status", "git__stash"] {
        let refused = agent.call(name, json!({})).await.unwrap();
        assert_eq!(refused.is_error, Some(true));
        let said = super::support::text_of(&refused);
        assert!(
            said.contains("may not use it") && said.contains("tool_not_allowed"),
            "{said}"
        );
    }
    assert!(server.seen("tools/call").is_empty());
}

#[tokio::test]
async fn a_held_tool_is_not_listed_and_its_call_names_the_way_out() {
    let server = Fake::new("git", &["log"]);
    server.offer(|offer| {
        // Whatever else is said of them.
        offer.tools.push(tool("commit", "Commits."));
        offer.held = vec!["push".to_owned(), "commit".to_owned()];
    });
    let site = Site::new(std::slice::from_ref(&server)).await;
    for era in Era::BOTH {
        let agent = Agent::over_http(&site, era, helpful()).await;
        assert_eq!(agent.tools().await, ["git__log"]);
        let refused = agent.call("git__push", json!({})).await.unwrap();
        assert_eq!(refused.is_error, Some(true));
        let said = super::support::text_of(&refused);
        assert!(said.contains("cofferdam mcp approve git"), "{said}");
        let account = &refused.meta.unwrap()["io.cofferdam/failure"];
        assert_eq!(
            *account,
            json!({ "code": "tool_held", "server": "git", "retryable": false })
        );
    }
    assert!(server.seen("tools/call").is_empty());
    // Approved meanwhile.
    server.offer(|offer| {
        offer.tools.push(tool("push", "Pushes."));
        offer.held.retain(|held| held == "commit");
    });
    let agent = Agent::over_http(&site, Era::Modern, helpful()).await;
    assert_eq!(agent.tools().await, ["git__log", "git__push"]);
    assert!(agent.text("git__push", json!({})).await.contains("push"));
}

#[tokio::test]
async fn a_tool_that_nobody_has_is_a_result_that_says_so() {
    let site = Site::new(&[git()]).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    for name in ["git__nothing", "nobody__log", "log", "", "__", "git__"] {
        let refused = agent.call(name, json!({})).await.unwrap();
        assert_eq!(refused.is_error, Some(true), "{name}");
        assert!(
            super::support::text_of(&refused).contains("unknown_tool"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_nobody_elses_list_and_is_told_of_when_it_answers() {
    let slow = Fake::unknown("slow");
    let mut options = options();
    options.list_patience = Duration::from_millis(200);
    let site = Site::with(view(&[git(), slow.clone()]), options).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let begun = Instant::now();
    assert_eq!(agent.tools().await, ["git__log", "git__status"]);
    let first = begun.elapsed();
    assert!(
        (Duration::from_millis(150)..Duration::from_secs(3)).contains(&first),
        "{first:?}"
    );
    // It is not waited for again.
    let begun = Instant::now();
    agent.tools().await;
    agent.service.list_all_prompts().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(150),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        agent.text("git__log", json!({})).await.contains("log"),
        "others work"
    );
    slow.offer(|offer| offer.tools = vec![tool("crawl", "Crawls.")]);
    agent
        .hears(|heard| heard.lists.contains(&"tools").then_some(()))
        .await;
    assert_eq!(agent.tools().await, ["git__log", "git__status", "slow__crawl"]);
}

#[tokio::test]
async fn a_server_that_answers_in_time_is_in_the_first_list() {
    let slow = Fake::unknown("slow");
    let site = Site::new(&[git(), slow.clone()]).await;
    let agent = Agent::over_http(&site, Era::Modern, helpful()).await;
    let answering = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        slow.offer(|offer| offer.tools = vec![tool("crawl", "Crawls.")]);
    };
    let (tools, ()) = tokio::join!(agent.tools(), answering);
    assert_eq!(tools, ["git__log", "git__status", "slow__crawl"]);
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_costs_no_time_and_its_calls_say_why() {
    let broken = Fake::unknown("broken");
    broken.fail_offers(CallError::NotSent(Failure {
        server: "broken".parse().unwrap(),
        cause: FailureCause::NeedsLogin,
        detail: "nobody has logged in".to_owned(),
    }));
    let site = Site::new(&[git(), broken]).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let begun = Instant::now();
    assert_eq!(agent.tools().await, ["git__log", "git__status"]);
    assert!(begun.elapsed() < Duration::from_secs(2));
    let said = agent.text("broken__x", json!({})).await;
    assert!(
        said.contains("nobody has logged in") && said.contains("cofferdam mcp login broken"),
        "{said}"
    );
}

#[tokio::test]
async fn prompts_lead_to_their_server() {
    let server = git();
    server.offer_prompts(&["review"]);
    server.on("prompts/get", |request, _| async move {
        let ClientRequest::GetPromptRequest(get) = request else {
            panic!("a prompt")
        };
        assert_eq!(get.params.name, "review");
        Ok(ServerResult::GetPromptResult(GetPromptResult::new(vec![
            PromptMessage::new_text(Role::User, "Review this."),
        ])))
    });
    let site = Site::new(&[server, Fake::new("docs", &[])]).await;
    for era in Era::BOTH {
        let agent = Agent::over_http(&site, era, helpful()).await;
        let prompts = agent.service.list_all_prompts().await.unwrap();
        assert_eq!(
            prompts
                .iter()
                .map(|prompt| prompt.name.as_str())
                .collect::<Vec<_>>(),
            ["git__review"]
        );
        let got = agent
            .service
            .get_prompt(GetPromptRequestParams::new("git__review"))
            .await
            .unwrap();
        assert_eq!(got.messages.len(), 1);
        let unknown = agent
            .service
            .get_prompt(GetPromptRequestParams::new("git__other"))
            .await;
        assert!(unknown.unwrap_err().to_string().contains("no such prompt"));
    }
}

fn reads(server: &Fake, said: &'static str) {
    server.on("resources/read", move |request, _| async move {
        let ClientRequest::ReadResourceRequest(read) = request else {
            panic!("a resource")
        };
        let uri = read.params.uri;
        if uri.contains("missing") {
            return Err(CallError::Answered(rmcp::ErrorData::resource_not_found(
                "not here", None,
            )));
        }
        Ok(ServerResult::ReadResourceResult(ReadResourceResult::new(vec![
            ResourceContents::text(said, uri),
        ])))
    });
}

#[tokio::test]
async fn resources_are_read_where_they_are() {
    let (a, b, c) = (Fake::new("a", &[]), Fake::new("b", &[]), Fake::new("c", &[]));
    a.offer_resources(&["x://both", "x://a"], &["repo://{owner}"]);
    b.offer_resources(&["x://both", "x://b"], &["repo://{owner}/issues/{number}"]);
    c.offer(|offer| {
        offer.capabilities = able();
        offer.capabilities.resources = None;
    });
    for (server, said) in [(&a, "from a"), (&b, "from b"), (&c, "from c")] {
        reads(server, said);
    }
    let site = Site::new(&[a.clone(), b.clone(), c.clone()]).await;
    for era in Era::BOTH {
        let agent = Agent::over_http(&site, era, helpful()).await;
        let listed = agent.service.list_all_resources().await.unwrap();
        assert_eq!(
            listed
                .iter()
                .map(|resource| resource.uri.as_str())
                .collect::<Vec<_>>(),
            ["x://both", "x://a", "x://b"]
        );
        assert_eq!(
            agent.service.list_all_resource_templates().await.unwrap().len(),
            2
        );
        for (uri, expected) in [
            ("x://both", "from a"),
            ("x://b", "from b"),
            ("repo://me", "from a"),
            ("repo://me/issues/3", "from b"),
        ] {
            let read = agent
                .service
                .read_resource(ReadResourceRequestParams::new(uri))
                .await
                .unwrap();
            assert!(format!("{read:?}").contains(expected), "{uri}: {read:?}");
        }
    }
    assert!(c.seen("resources/read").is_empty(), "it claims no resources");
    // What nobody lists is told to nobody, as it could be anybody's.
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let read = ReadResourceRequestParams::new("hidden://b");
    assert!(agent.service.read_resource(read).await.is_err());
    for server in [&a, &b] {
        let seen = server.seen("resources/read");
        assert!(seen.iter().all(|read| read["uri"] != "hidden://b"), "{seen:?}");
    }
    // A server that is alone with resources may have some that it does not list.
    let site = Site::new(&[b, c]).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let read = agent
        .service
        .read_resource(ReadResourceRequestParams::new("hidden://b"));
    assert!(format!("{:?}", read.await.unwrap()).contains("from b"));
}

#[tokio::test]
async fn lists_are_one_page() {
    let site = Site::new(&[git()]).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let params = rmcp::model::PaginatedRequestParams::default().with_cursor(Some("2".to_owned()));
    let error = agent.service.list_tools(Some(params)).await.unwrap_err();
    assert!(error.to_string().contains("no such page"));
}
