//! `doctor`: what is well, what is not, and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use session_core::command::{ExitCause, OutputStream};
use session_core::error::ErrorKind;

use crate::support::User;
use crate::support::fake::{Fake, Step};
use crate::support::home::{Home, declare_some};

fn verdicts(lines: &[serde_json::Value]) -> Vec<(String, String)> {
    let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
    lines
        .iter()
        .map(|line| (text(line, "check"), text(line, "status")))
        .collect()
}

fn has(lines: &[serde_json::Value], check: &str, status: &str) -> bool {
    verdicts(lines).contains(&(check.to_owned(), status.to_owned()))
}

#[tokio::test]
async fn all_is_well() {
    let user = User::new(Fake::new());
    let outcome = user.runs("doctor --json").await;
    let lines = outcome.lines();
    for check in ["state", "engine", "seal", "image", "provider", "git"] {
        assert!(has(&lines, check, "ok"), "{check}: {lines:?}");
    }
    assert_eq!(outcome.code, 0);
}

#[tokio::test]
async fn promises_that_cannot_be_kept_are_named() {
    let mut user = User::new(Fake::new());
    user.environment.remove("ANTHROPIC_API_KEY");
    if let Ok(health) = &mut user.health {
        health
            .findings
            .push("cgroup v1: swap is not limited; boot with cgroup v2".to_owned());
    }
    let outcome = user.runs("doctor").await;
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stdout().contains("warn  seal        cgroup v1"),
        "{}",
        outcome.stdout()
    );
    assert!(outcome.stdout().contains("export ANTHROPIC_API_KEY"));
    assert!(outcome.stderr().contains("with the limitations above"));
}

#[tokio::test]
async fn an_engine_that_is_down_fails_and_says_what_to_do() {
    let mut user = User::new(Fake::new());
    user.health = Err(ErrorKind::EngineUnavailable);
    let outcome = user.runs("doctor --json --trial").await;
    let lines = outcome.lines();
    assert!(has(&lines, "engine", "fail"));
    assert!(lines.iter().any(|line| line["remedy"] == "start the engine"));
    assert!(
        !verdicts(&lines)
            .iter()
            .any(|(check, _)| check == "image" || check == "trial")
    );
    assert_eq!(outcome.code, 1);
}

#[tokio::test]
async fn a_missing_image_fails() {
    let user = User::new(Fake::new().failing("image", ErrorKind::ImageNotFound));
    let outcome = user.runs("doctor --json").await;
    assert!(has(&outcome.lines(), "image", "fail"));
    assert_eq!(outcome.code, 1);
}

#[tokio::test]
async fn servers_that_would_not_work_are_named_and_do_not_fail() {
    let home = Home::new();
    let outcome = home.user.runs("doctor --json").await;
    assert!(has(&outcome.lines(), "mcp", "ok"), "{}", outcome.stdout());
    declare_some(&home).await;
    let login = [
        "mcp",
        "add",
        "web",
        "--oauth",
        "--url",
        "https://web.example.com/mcp",
    ];
    home.succeeds(&login).await;
    let outcome = home.user.runs("doctor --json").await;
    assert_eq!(outcome.code, 0);
    let lines = outcome.lines();
    let remedies: Vec<_> = lines
        .iter()
        .filter(|line| line["check"] == "mcp" && line["status"] == "warn")
        .map(|line| {
            (
                line["message"].as_str().unwrap(),
                line["remedy"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(remedies.len(), 2, "{remedies:?}");
    assert!(remedies[0].0.contains("docs") && remedies[0].0.contains("DOCS_TOKEN"));
    assert_eq!(remedies[1].1, "cofferdam mcp login web");

    let text = home.written();
    fs::write(home.servers(), format!("only_published = true\n{text}")).unwrap();
    let outcome = home.user.runs("doctor").await;
    assert!(
        outcome.stdout().contains("cofferdam mcp publish --profile work"),
        "{}",
        outcome.stdout()
    );
    fs::write(home.servers(), "nonsense").unwrap();
    let outcome = home.user.runs("doctor --json").await;
    assert!(has(&outcome.lines(), "mcp", "fail"));
    assert_eq!(outcome.code, 1);
    fs::write(home.servers(), "").unwrap();
    fs::set_permissions(home.servers(), fs::Permissions::from_mode(0o666)).unwrap();
    let outcome = home.user.runs("doctor --json").await;
    assert!(
        has(&outcome.lines(), "mcp", "fail"),
        "others can write it: {}",
        outcome.stdout()
    );
}

#[tokio::test]
async fn a_trial_looks_at_the_seal_and_leaves_nothing() {
    const SEALED: &[u8] = b"Inter-|   Receive\n face |bytes\n    lo: 0 0\n tunl0: 0 0\n";
    const OPEN: &[u8] = b"Inter-|   Receive\n    lo: 0 0\n  eth0: 12 0\n";
    for (devices, status, code) in [(SEALED, "ok", 0), (OPEN, "fail", 1)] {
        let user = User::new(Fake::commanding([
            Step::Write(OutputStream::Stdout, devices),
            Step::Exit(ExitCause::Exited, Some(0), None),
        ]));
        let outcome = user.runs("doctor --json --trial").await;
        assert!(has(&outcome.lines(), "trial", status), "{}", outcome.stdout());
        assert_eq!(outcome.code, code);
        assert!(user.fake.calls().iter().any(|call| call.starts_with("destroy")));
    }
}

#[tokio::test]
async fn records_that_cannot_be_read_are_told() {
    let mut fake = Fake::new();
    fake.kept.quarantined = vec![session_core::store::Quarantined {
        table: "session".to_owned(),
        session: Some(crate::support::fixtures::session_id('f')),
        reason: "its state has another form".to_owned(),
        at: crate::support::fixtures::start(),
        record: "{}".to_owned(),
    }];
    let user = User::new(fake);
    let outcome = user.runs("doctor").await;
    let told = outcome.stdout() + &outcome.stderr();
    assert!(told.contains("1 record could not be read"), "{told}");
    assert!(
        told.contains(&crate::support::fixtures::session_id('f').to_string()),
        "{told}"
    );
}
