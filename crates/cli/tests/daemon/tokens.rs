//! Tokens, from the command line to the door.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::host::Host;

fn status(port: u16, token: Option<&str>) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let token = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    let request =
        format!("GET /v1/sessions HTTP/1.1\r\nHost: localhost:{port}\r\n{token}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn a_token_opens_the_door_until_it_is_revoked() {
    let host = Host::new();
    let said = host.run(&["token", "create", "ci", "--scope", "read"]);
    let token = said.stdout.trim();
    assert!(
        token.starts_with("cfd_") && said.stdout.lines().count() == 1,
        "{said:?}"
    );
    assert!(said.stderr.contains("shown this once"));
    assert!(host.processes().is_empty(), "no daemon is needed");
    let listed = host.ok(&["token", "list"]);
    assert!(
        listed.contains("ci") && listed.contains("read") && !listed.contains(token),
        "{listed}"
    );
    let kept = std::fs::read_to_string(host.state().join("keys/tokens.json")).unwrap();
    assert!(!kept.contains(token));

    let port = free_port();
    let _serving = host.serve(&["--listen", &format!("127.0.0.1:{port}")]);
    assert_eq!(status(port, None), "401");
    assert_eq!(status(port, Some("cfd_wrong")), "401");
    assert_eq!(status(port, Some(token)), "200");
    host.ok(&["token", "revoke", "ci"]);
    assert_eq!(status(port, Some(token)), "401", "at once");
    assert_eq!(host.run(&["token", "revoke", "ci"]).code, Some(3));
}

/// The lines about tokens, without their numbers and times.
fn lines(host: &Host) -> Vec<(String, String, String)> {
    let told = host.ok(&["audit", "--json"]);
    let lines = told
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .filter(|line| text(&line["action"]).ends_with("_token"))
        .map(|line| {
            assert!(text(&line["actor"]).starts_with("local uid "), "{line}");
            (
                text(&line["action"]),
                text(&line["decision"]),
                text(&line["detail"]),
            )
        })
        .collect()
}

#[test]
fn what_becomes_of_tokens_has_a_line() {
    let host = Host::new();
    let secret = host.ok(&["token", "create", "ci"]);
    assert_eq!(host.run(&["token", "create", "ci"]).code, Some(4));
    host.ok(&["token", "revoke", "ci"]);
    assert_eq!(host.run(&["token", "revoke", "ci"]).code, Some(3));
    host.ok(&["token", "list"]);
    let line = |action: &str, decision: &str| (action.to_owned(), decision.to_owned(), "token ci".to_owned());
    let expected = [
        line("create_token", "done"),
        line("create_token", "refused"),
        line("revoke_token", "done"),
        line("revoke_token", "refused"),
    ];
    assert_eq!(lines(&host), expected);
    assert!(!host.ok(&["audit", "--json"]).contains(secret.trim()));
}

/// Each process appends in a transaction that holds the store's write lock, and moves the anchor along the chain under a
/// lock of its file: so nobody's line takes another's place, and none is missing at the end.
#[test]
fn commands_beside_a_daemon_write_one_chain_with_it() {
    let host = Host::new();
    let port = free_port();
    let _serving = host.serve(&["--listen", &format!("127.0.0.1:{port}")]);
    let names = ["a", "b", "c", "d"];
    std::thread::scope(|scope| {
        for name in names {
            let host = &host;
            scope.spawn(move || {
                host.ok(&["token", "create", name]);
                // The daemon writes that it turned somebody away.
                assert_eq!(status(port, Some("cfd_wrong")), "401");
                host.ok(&["token", "revoke", name]);
            });
        }
    });
    assert_eq!(lines(&host).len(), 2 * names.len());
    let told = host.ok(&["audit", "--json"]);
    assert_eq!(told.matches("make_request").count(), names.len(), "{told}");
    host.ok(&["audit", "--verify"]);
}

#[test]
fn a_token_is_made_as_it_is_asked_for() {
    let host = Host::new();
    let made = host.ok(&[
        "token",
        "create",
        "bot",
        "--all-sessions",
        "--expires",
        "90d",
        "--json",
    ]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(
        (&made["scope"], &made["all_sessions"]),
        (&"use".into(), &true.into())
    );
    assert!(made["expires_at"].is_string() && made["token"].is_string());
    assert_eq!(
        host.run(&["token", "create", "bot"]).code,
        Some(4),
        "the name is taken"
    );
    assert_eq!(host.run(&["token", "create", "no name"]).code, Some(2));
    assert_eq!(
        host.run(&["token", "create", "x", "--scope", "all"]).code,
        Some(2)
    );
}

#[test]
fn the_names_of_existing_servers_open_it_too() {
    let port = free_port();
    let key = "0123456789abcdef0123456789abcdef";
    let host = Host::new()
        .with("MCP_PORT", &port.to_string())
        .with("MCP_API_KEY", key);
    let serving = host.serve(&["--http", "--log-format", "json"]);
    assert_eq!(status(port, Some(key)), "200");
    assert_eq!(status(port, None), "401");
    serving.signal(rustix::process::Signal::TERM);
    let said = serving.ended();
    assert!(
        said.stdout.contains(&format!("http://127.0.0.1:{port}")),
        "{said:?}"
    );
    for line in said.stderr.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
    assert!(!said.stderr.contains(key), "{said:?}");
}

#[test]
fn beyond_loopback_only_what_is_encrypted() {
    let host = Host::new().with("MCP_API_KEY", "0123456789abcdef0123456789abcdef");
    let port = free_port().to_string();
    let said = host.run(&["serve", "--listen", &format!("0.0.0.0:{port}")]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("not encrypted"), "{said:?}");
    let provider = Host::new()
        .with("MCP_API_KEY", "0123456789abcdef")
        .with("ANTHROPIC_API_KEY", "0123456789abcdef");
    let said = provider.run(&["serve", "--http"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("provider's key"), "{said:?}");
}
