//! The servers of other programs' files become declarations, their secrets do not.

use std::fs;

use serde_json::json;

use crate::support::home::{Home, SECRET, at_home};

fn theirs() -> String {
    json!({"mcpServers": {
        "GitHub Tools": {"command": "npx", "args": ["-y", "github-mcp"], "env": {"GITHUB_TOKEN": SECRET, "LEVEL": "info"}},
        "docs": {"url": "https://docs.example.com/mcp", "headers": {"Authorization": format!("Bearer {SECRET}")}},
        "old": {"type": "sse", "url": "https://old.example.com/sse"},
    }})
    .to_string()
}

#[tokio::test]
async fn what_can_be_declared_is_and_secrets_are_to_be_exported() {
    let home = Home::new();
    fs::write(home.dir.path().join("theirs.json"), theirs()).unwrap();
    let outcome = home.user.runs("mcp import theirs.json").await;
    at_home!("mcp_import", home, outcome);
    assert!(!outcome.shown().contains("canary") && !home.written().contains("canary"));
    let profiles = home.user.runs("mcp profiles --json").await.lines();
    assert_eq!(profiles[0]["servers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn one_of_them_is_imported_by_its_name_there() {
    let mut home = Home::new();
    home.user.stdin = theirs().into_bytes();
    let outcome = home
        .user
        .runs("mcp import - --only docs --no-profile --json")
        .await;
    assert_eq!(outcome.code, 0, "{}", outcome.shown());
    assert_eq!(outcome.lines()[0]["added"], json!(["docs"]));
    assert_eq!(home.user.runs("mcp profiles --json").await.lines().len(), 0);
    let again = home.user.runs("mcp import - --only docs --json").await;
    assert_eq!(again.lines()[0]["skipped"][0][0], "docs");
    let outcome = home.user.runs("mcp import - --only nothing").await;
    assert_eq!(outcome.code, 3, "{}", outcome.shown());
}

#[tokio::test]
async fn what_is_no_such_file_is_refused() {
    let home = Home::new();
    for (text, code) in [(Some("{"), 2), (Some("[]"), 2), (Some("{}"), 2), (None, 11)] {
        if let Some(text) = text {
            fs::write(home.dir.path().join("bad.json"), text).unwrap();
        }
        let file = if text.is_some() { "bad.json" } else { "absent.json" };
        let outcome = home.user.runs(&format!("mcp import {file}")).await;
        assert_eq!(outcome.code, code, "{text:?}: {}", outcome.shown());
    }
    assert_eq!(home.written(), "");
}
