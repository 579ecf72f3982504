//! What is declared is drafted, signed, compared, checked and deployed: real files and keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::home::{Home, at_home, declare_some};

async fn published(home: &Home) -> String {
    let id = home.succeeds(&["mcp", "publish"]).await.stdout();
    id.trim().to_owned()
}

fn artifacts(home: &Home) -> std::path::PathBuf {
    home.user.state_dir().join("storage/mcp/artifacts")
}

#[tokio::test]
async fn what_is_published_holds_until_the_declarations_change() {
    let home = Home::new();
    declare_some(&home).await;
    let outcome = home.user.runs("mcp diff").await;
    at_home!("mcp_diff_unknown", home, outcome);
    let outcome = home.user.runs("mcp publish").await;
    at_home!("mcp_publish", home, outcome);
    let id = outcome.stdout().trim().to_owned();
    assert_eq!(
        published(&home).await,
        id,
        "the same content is the same artifact"
    );
    let outcome = home.user.runs("mcp verify").await;
    at_home!("mcp_verify", home, outcome);
    assert_eq!(home.user.runs("mcp diff --exit-code").await.code, 0);

    home.succeeds(&[
        "mcp",
        "add",
        "git",
        "--replace",
        "--",
        "mcp-server-git",
        "--other",
    ])
    .await;
    home.succeeds(&["mcp", "add", "more", "--", "mcp-server-git"])
        .await;
    let outcome = home.user.runs("mcp diff --exit-code").await;
    at_home!("mcp_diff_outdated", home, outcome);
    let line = &home.user.runs("mcp diff --json").await.lines()[0];
    assert_eq!(
        (&line["status"], &line["published"]),
        (&json!("outdated"), &json!(id))
    );
    assert_ne!(published(&home).await, id);
}

#[tokio::test]
async fn keys_are_made_once_for_their_owner_alone() {
    let home = Home::new();
    let first = home.succeeds(&["mcp", "keys", "init"]).await.stdout();
    assert_eq!(home.succeeds(&["mcp", "keys", "init"]).await.stdout(), first);
    let keys = home.user.state_dir().join("keys");
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&keys).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    declare_some(&home).await;
    let id = published(&home).await;
    let renewed = home.succeeds(&["mcp", "keys", "init", "--renew"]).await.stdout();
    assert_ne!(renewed, first);
    assert_eq!(home.user.runs(&format!("mcp verify {id}")).await.code, 0);
}

#[tokio::test]
async fn what_was_changed_after_it_was_signed_does_not_hold() {
    let home = Home::new();
    declare_some(&home).await;
    let id = published(&home).await;
    let file = artifacts(&home).join(format!("{}.json", id.strip_prefix("sha256:").unwrap()));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("/srv/repo", "/srv/evil")).unwrap();
    let outcome = home.user.runs("mcp verify").await;
    at_home!("mcp_verify_fails", home, outcome);
    let line = &home.user.runs("mcp verify --json").await.lines()[0];
    assert_eq!(
        (&line["holds"], line["error"]["code"].is_string()),
        (&json!(false), true)
    );
    let line = &home.user.runs("mcp diff --json").await.lines()[0];
    assert_eq!(line["status"], "unknown");
    let outcome = home.user.runs("mcp deploy claude-code").await;
    assert_eq!(outcome.code, 2, "{}", outcome.shown());
    assert!(!home.dir.path().join(".claude.json").exists());
}

#[tokio::test]
async fn artifacts_are_found_by_the_start_of_their_id() {
    let home = Home::new();
    declare_some(&home).await;
    let id = published(&home).await;
    let start = &id["sha256:".len()..][..8];
    assert_eq!(home.user.runs(&format!("mcp verify {start}")).await.code, 0);
    for (text, code) in [("abc", 2), ("nonsense", 2), ("00000000", 3), (&"0".repeat(64), 3)] {
        // One in four thousand million begins so.
        let outcome = home.user.runs(&format!("mcp verify {text}")).await;
        assert_eq!(outcome.code, code, "{text}: {}", outcome.shown());
    }
}

#[tokio::test]
async fn a_draft_is_a_choice_of_its_own_until_it_is_cleared() {
    let home = Home::new();
    declare_some(&home).await;
    let outcome = home.user.runs("mcp draft add box").await;
    at_home!("mcp_draft_add", home, outcome);
    home.succeeds(&["mcp", "draft", "remove", "git"]).await;
    let line = &home.user.runs("mcp draft show --json").await.lines()[0];
    assert_eq!(
        (&line["servers"], &line["draft"]),
        (&json!(["box"]), &json!(true))
    );
    let id = published(&home).await;
    let line = &home.user.runs(&format!("mcp verify {id} --json")).await.lines()[0];
    assert_eq!(line["servers"], json!(["box"]));
    home.succeeds(&["mcp", "draft", "clear"]).await;
    let outcome = home.user.runs("mcp draft clear").await;
    assert!(outcome.stderr().contains("there was no draft"));
    let line = &home.user.runs("mcp draft show --json").await.lines()[0];
    assert_eq!(
        (&line["servers"], &line["draft"]),
        (&json!(["git"]), &json!(false))
    );
    assert_eq!(home.user.runs("mcp draft add git nothing").await.code, 3);
    assert_eq!(home.user.runs("mcp draft show --profile nothing").await.code, 3);
    assert_eq!(home.user.runs("mcp draft show --client emacs").await.code, 2);
}

#[tokio::test]
async fn nothing_is_published_of_nothing() {
    let home = Home::new();
    assert_eq!(home.user.runs("mcp publish").await.code, 3);
    let outcome = home.user.runs("mcp verify").await;
    assert_eq!((outcome.code, outcome.stdout()), (0, String::new()));
    declare_some(&home).await;
    home.succeeds(&["mcp", "draft", "remove", "git"]).await;
    let outcome = home.user.runs("mcp publish").await;
    assert_eq!(outcome.code, 2, "{}", outcome.shown());
    assert!(outcome.stderr().contains("no server"), "{}", outcome.stderr());
    let outcome = home.user.runs("mcp deploy cursor").await;
    assert_eq!(outcome.code, 3, "{}", outcome.shown());
    assert!(outcome.stderr().contains("cofferdam mcp publish"));
}

fn entry(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["mcpServers"]["gw"].clone()
}

#[tokio::test]
async fn an_entry_is_put_into_a_clients_file_and_nothing_else_is_touched() {
    let home = Home::new();
    declare_some(&home).await;
    let id = published(&home).await;
    let file = home.dir.path().join(".cursor/mcp.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let before = "{\n  \"mcpServers\": { \"other\": { \"env\": { \"TOKEN\": \"theirs\" } } }\n}\n";
    fs::write(&file, before).unwrap();
    let outcome = home.user.runs("mcp deploy cursor --dry-run").await;
    at_home!("mcp_deploy_dry", home, outcome);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    let outcome = home.user.runs("mcp deploy cursor").await;
    at_home!("mcp_deploy", home, outcome);
    assert!(!outcome.shown().contains("theirs"));
    let args = entry(&file)["args"].clone();
    let state = home.user.state_dir().to_str().unwrap();
    assert_eq!(
        args,
        json!([
            "--state-dir",
            state,
            "mcp",
            "serve",
            "--profile",
            "default",
            "--artifact",
            id
        ])
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("theirs") && !text.contains("canary"), "{text}");
    let again = home.user.runs("mcp deploy cursor --json").await.lines().remove(0);
    assert_eq!(
        (&again["changed"], &again["variables"]),
        (&json!(false), &json!(["GIT_TOKEN"]))
    );
}

#[tokio::test]
async fn what_stands_in_a_clients_file_is_compared() {
    let home = Home::new();
    declare_some(&home).await;
    let id = published(&home).await;
    let file = home.dir.path().join("elsewhere.json");
    home.succeeds(&["mcp", "deploy", "claude-desktop", "--file", "elsewhere.json"])
        .await;
    let diff = async || {
        home.user
            .runs("mcp diff --client claude-desktop --json")
            .await
            .lines()
            .remove(0)
    };
    let line = diff().await;
    assert_eq!(
        (&line["status"], &line["deployed"]),
        (&json!("up-to-date"), &json!(id))
    );

    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"serve\"", "\"list\"")).unwrap();
    let line = diff().await;
    assert_eq!(
        (&line["status"], &line["deployed"]),
        (&json!("diverged"), &json!("other"))
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(diff().await["deployed"], "gone");

    home.succeeds(&["mcp", "deploy", "claude-desktop", "--file", "elsewhere.json"])
        .await;
    home.succeeds(&["mcp", "add", "more", "--", "mcp-server-git"])
        .await;
    assert_eq!(diff().await["status"], "outdated");
    published(&home).await;
    home.succeeds(&["mcp", "remove", "more"]).await;
    home.succeeds(&["mcp", "add", "other", "--", "mcp-server-git"])
        .await;
    published(&home).await;
    let outcome = home.user.runs("mcp diff --client claude-desktop").await;
    at_home!("mcp_diff_diverged", home, outcome);
    let outcome = home.user.runs("mcp clients").await;
    at_home!("mcp_clients", home, outcome);
}

#[tokio::test]
async fn a_client_can_have_a_choice_of_its_own() {
    let home = Home::new();
    declare_some(&home).await;
    let of_all = published(&home).await;
    home.succeeds(&["mcp", "draft", "add", "box", "--client", "cursor"])
        .await;
    let own = home
        .succeeds(&["mcp", "publish", "--client", "cursor"])
        .await
        .stdout();
    assert_ne!(own.trim(), of_all);
    home.succeeds(&["mcp", "deploy", "cursor"]).await;
    home.succeeds(&["mcp", "deploy", "claude-code"]).await;
    let cursor = entry(&home.dir.path().join(".cursor/mcp.json"));
    let code = entry(&home.dir.path().join(".claude.json"));
    assert_eq!(cursor["args"][7], own.trim());
    assert_eq!(code["args"][7], of_all);
}
