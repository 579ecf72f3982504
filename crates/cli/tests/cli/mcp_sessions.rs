//! MCP servers of sessions: asked for, refused, shown.

use std::fs;

use serde_json::json;
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::mcp::{McpSelection, McpStatus, ServerState, ServerStatus};

use crate::support::fake::Fake;
use crate::support::{User, fixtures, snapshot};

fn status(name: &str, state: ServerState) -> ServerStatus {
    ServerStatus {
        name: name.parse().unwrap(),
        state,
        reason: None,
        failures: 0,
        retry_in_ms: None,
        held: Vec::new(),
        tools: None,
    }
}

/// A session with servers of which most do not work.
fn with_servers() -> Fake {
    let mut fake = Fake::new();
    fake.sessions[0] = fixtures::session(
        'f',
        Some("fix-it"),
        json!({"state": "ready", "mcp": {
            "servers": ["docs", "git", "issues"], "profile": "default", "own": ["mine"], "tools": ["git__*"], "search": true,
            "configuration": "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "artifact": "sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210",
        }}),
    );
    let mut git = status("git", ServerState::Ready);
    git.tools = Some(12);
    git.held = vec!["log".to_owned(), "evil\u{1b}[2J".to_owned()];
    let mut issues = status("issues", ServerState::Failed);
    issues.reason = Some("it ended with exit code 1".to_owned());
    issues.failures = 3;
    issues.retry_in_ms = Some(1500);
    fake.servers = Some(McpStatus {
        servers: vec![
            status("docs", ServerState::NeedsLogin),
            git,
            issues,
            status("mine", ServerState::Idle),
        ],
        drifted: true,
    });
    fake
}

fn selection(user: &User) -> McpSelection {
    user.fake.created().pop().unwrap().mcp
}

#[tokio::test]
async fn sessions_get_what_was_asked_for() {
    let user = User::new(Fake::new());
    assert_eq!(user.runs("create --empty").await.code, 0);
    assert_eq!(selection(&user), McpSelection::default());
    let line = "create --empty --mcp git --mcp docs --mcp-profile work --mcp-tool git__log --mcp-tool docs__* --mcp-search";
    let outcome = user.runs(line).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr());
    assert_eq!(
        selection(&user),
        McpSelection {
            profile: Some("work".parse().unwrap()),
            servers: vec!["git".parse().unwrap(), "docs".parse().unwrap()],
            tools: vec!["git__log".to_owned(), "docs__*".to_owned()],
            none: false,
            search: Some(true),
        }
    );
    assert_eq!(user.runs("create --empty --mcp-search=false").await.code, 0);
    assert_eq!(selection(&user).search, Some(false));
    assert_eq!(user.runs("create --empty --no-mcp").await.code, 0);
    assert!(selection(&user).none);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_before_anything_is_made() {
    let user = User::new(Fake::new());
    for line in [
        "create --mcp Git",
        "create --mcp a__b",
        "create --mcp-tool log",
        "create --no-mcp --mcp git",
        "create --mcp-search=maybe",
        "create --mcp-profile ../x",
    ] {
        assert_eq!(user.runs(line).await.code, 2, "{line}");
    }
    assert_eq!(user.fake.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn servers_of_its_own_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut user = User::new(Fake::new());
    user.current_dir = dir.path().to_owned();
    let config = json!({"mcpServers": {"mine": {"command": "python3", "args": ["server.py"]}}});
    fs::write(dir.path().join("own.json"), config.to_string()).unwrap();
    let outcome = user.runs("create --empty --mcp-config own.json").await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr());
    assert_eq!(user.fake.created()[0].mcp_config.as_ref().unwrap(), &config);

    fs::write(dir.path().join("bad.json"), "{\"TOKEN\": sk-canary").unwrap();
    fs::write(dir.path().join("long.json"), " ".repeat((1 << 20) + 1)).unwrap();
    for (file, code, said) in [
        ("bad.json", 2, "is not JSON"),
        ("long.json", 2, "longer than a mebibyte"),
        ("absent.json", 11, "cannot be read"),
    ] {
        let outcome = user.runs(&format!("create --empty --mcp-config {file} -v")).await;
        assert_eq!(outcome.code, code, "{file}: {}", outcome.stderr());
        assert!(
            outcome.stderr().contains(said) && outcome.stderr().contains(file),
            "{}",
            outcome.stderr()
        );
        assert!(!outcome.stderr().contains("canary"), "{}", outcome.stderr());
    }
    assert_eq!(user.fake.created().len(), 1);
}

#[tokio::test]
async fn a_server_that_may_not_be_used_makes_no_session() {
    let user = User::new(Fake::new().failing("create", ErrorKind::InvalidArgument));
    let outcome = user.runs("create --empty --mcp nothing").await;
    assert_eq!((outcome.code, outcome.stdout()), (2, String::new()));
}

#[tokio::test]
async fn a_session_shows_its_servers_its_configuration_and_drift() {
    let user = User::new(with_servers());
    let outcome = user.runs("inspect fix-it").await;
    snapshot!("inspect_mcp", user, outcome);
    let all = user.runs("inspect --json fix-it").await.lines().remove(0);
    assert_eq!(all["mcp_status"]["drifted"], true);
    assert_eq!(all["mcp"]["profile"], "default");
}

#[tokio::test]
async fn what_servers_do_is_in_the_log() {
    let mut fake = Fake::new();
    let servers = with_servers().servers.unwrap().servers;
    fake.stored = (1..)
        .zip(servers)
        .map(|(seq, status)| {
            fixtures::event(
                fixtures::session_id('f'),
                seq,
                None,
                EventKind::McpServer { status },
            )
        })
        .collect();
    let user = User::new(fake);
    let outcome = user.runs("logs fix-it").await;
    snapshot!("logs_mcp", user, outcome);
    let verbose = user.runs("-v logs fix-it").await.stdout();
    assert!(verbose.contains("MCP server mine: idle"), "{verbose}");
    let lines = user.runs("logs --json fix-it").await.lines();
    assert_eq!(
        (&lines[0]["event"], &lines[0]["state"]),
        (&json!("mcp_server"), &json!("needs_login"))
    );
}

#[tokio::test]
async fn status_is_of_a_session_or_of_all() {
    let user = User::new(with_servers());
    let outcome = user.runs("mcp status --session fix-it").await;
    snapshot!("mcp_status", user, outcome);
    let lines = user.runs("mcp status --json").await.lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1]["held"], json!(["log", "evil\u{1b}[2J"]));
    let session = fixtures::session_id('f');
    let asked: Vec<_> = user
        .fake
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("mcp_status"))
        .collect();
    assert_eq!(
        asked,
        [format!("mcp_status {session}"), "mcp_status all".to_owned()]
    );
    assert_eq!(user.runs("mcp status --session nothing-like-it").await.code, 3);

    let user = User::new(Fake::new());
    let outcome = user.runs("mcp status --session fix-it").await;
    assert!(outcome.code == 0 && outcome.stderr().contains("has no MCP server"));
}
