//! What a session is given when it is made.

use mcp_catalog::{ClientId, DraftKey};
use serde_json::json;
use session_core::error::ErrorKind;
use session_core::mcp::McpSelection;

use super::support::Lab;

const SERVERS: &str = "\
[servers.git]\ncommand = \"git-server\"\n\
[servers.docs]\nurl = \"https://docs.example.com/mcp\"\n\
[servers.off]\ncommand = \"off\"\nenabled = false\n\
[profiles.default]\nservers = [\"git\"]\ntools = [\"git__*\"]\n\
[profiles.more]\nservers = [\"docs\", \"git\"]\nsearch = true\n";

fn selection(profile: Option<&str>, servers: &[&str]) -> McpSelection {
    McpSelection {
        profile: profile.map(|name| name.parse().unwrap()),
        servers: servers.iter().map(|name| name.parse().unwrap()).collect(),
        ..McpSelection::default()
    }
}

fn names(plan: &session_core::mcp::McpPlan) -> Vec<&str> {
    plan.servers.iter().map(|name| name.as_str()).collect()
}

#[test]
fn who_asks_for_nothing_has_the_profile_default_and_who_wants_none_has_none() {
    let lab = Lab::new(SERVERS);
    let plan = lab.gateway.plan(&McpSelection::default(), None).unwrap();
    assert_eq!(names(&plan), ["git"]);
    assert_eq!(plan.profile.as_ref().map(|name| name.as_str()), Some("default"));
    assert_eq!(plan.tools, ["git__*"]);
    assert!(plan.configuration.starts_with("sha256:") && plan.artifact.is_none());

    let none = McpSelection {
        none: true,
        ..McpSelection::default()
    };
    assert!(lab.gateway.plan(&none, None).unwrap().is_empty());
    let nothing = Lab::new("");
    assert!(
        nothing
            .gateway
            .plan(&McpSelection::default(), None)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn profiles_and_servers_are_named_and_what_may_not_be_used_is_refused() {
    let lab = Lab::new(SERVERS);
    let plan = lab.gateway.plan(&selection(Some("more"), &[]), None).unwrap();
    assert_eq!((names(&plan), plan.search), (vec!["docs", "git"], true));
    let plan = lab.gateway.plan(&selection(None, &["docs"]), None).unwrap();
    assert_eq!((names(&plan), &plan.profile), (vec!["docs"], &None));
    for wrong in [
        selection(Some("nobody"), &[]),
        selection(None, &["nobody"]),
        selection(None, &["off"]),
    ] {
        let error = lab.gateway.plan(&wrong, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong:?}");
    }
}

#[test]
fn a_session_brings_servers_of_its_own_but_not_under_names_of_the_operator() {
    let lab = Lab::new(SERVERS);
    let own = |name: &str| json!({"mcpServers": {name: {"command": "own-server"}}});
    let plan = lab
        .gateway
        .plan(&McpSelection::default(), Some(&own("mine")))
        .unwrap();
    assert_eq!((names(&plan), plan.own.len()), (vec!["git"], 1));
    // Also one that the session does not use: an agent would take it for the operator's.
    for name in ["git", "docs"] {
        let error = lab
            .gateway
            .plan(&McpSelection::default(), Some(&own(name)))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}");
    }
}

#[test]
fn where_only_what_was_published_counts_nothing_else_is_given() {
    let lab = Lab::new(&format!("only_published = true\n{SERVERS}"));
    let all = McpSelection::default();
    let error = lab.gateway.plan(&all, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("cofferdam mcp publish")),
        "{error:?}"
    );

    let key = DraftKey {
        client: ClientId::sessions(),
        profile: "default".parse().unwrap(),
    };
    let artifact = lab.catalog().publish(&key, Default::default()).unwrap();
    let plan = lab.gateway.plan(&all, None).unwrap();
    assert_eq!(plan.artifact.as_deref(), Some(artifact.artifact_id.as_str()));
    // Fewer tools than published are no other configuration.
    let fewer = McpSelection {
        tools: vec!["git__log".to_owned()],
        ..McpSelection::default()
    };
    assert_eq!(
        lab.gateway.plan(&fewer, None).unwrap().configuration,
        plan.configuration
    );
    // Servers beside it were not published, and nor were those of the session.
    assert!(
        lab.gateway
            .plan(&selection(Some("default"), &["docs"]), None)
            .is_err()
    );
    let own = json!({"mcpServers": {"mine": {"command": "own-server"}}});
    assert!(lab.gateway.plan(&all, Some(&own)).is_err());

    lab.declare(&format!(
        "only_published = true\n{}",
        SERVERS.replace("git-server", "other-server")
    ));
    assert!(lab.gateway.plan(&all, None).is_err(), "it was changed since");
}

#[tokio::test]
async fn drift_is_shown_and_other_servers_are_none_of_it() {
    let lab = Lab::new("[servers.kit]\ncommand = \"PROGRAM\"\n");
    let client = lab.client(&["kit"]).await;
    let drifted = || lab.gateway.status(Some(&client.id)).drifted;
    assert!(!drifted());
    lab.declare("[servers.kit]\ncommand = \"PROGRAM\"\n[servers.more]\ncommand = \"PROGRAM\"\n");
    assert!(!drifted(), "it has nothing to do with that one");
    lab.declare("[servers.kit]\ncommand = \"PROGRAM\"\nargs = [\"--mode\", \"flood\"]\n");
    assert!(drifted());
    lab.declare("");
    assert!(drifted());
    lab.declare("[servers.kit]\ncommand = \"PROGRAM\"\n");
    assert!(!drifted());
    client.leave().await;
}
