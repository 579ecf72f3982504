use proptest::prelude::*;
use serde_json::json;
use session_core::error::ErrorKind;

use super::*;
use crate::testing::{CANARY, json_with_canary, name};

fn one(server: Json) -> Json {
    json!({"mcpServers": {"own": server}})
}

fn refused(config: &Json) -> String {
    let error = parse(config).expect_err(&config.to_string());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.hint().is_some());
    let said = format!("{error} {error:?} {:?}", error.hint());
    assert!(!said.contains(CANARY), "{said}");
    error.to_string()
}

#[test]
fn a_session_brings_programs_containers_and_public_servers() {
    let servers = parse(&json!({"mcpServers": {
        "time": {"command": "uvx", "args": ["mcp-time"], "env": {"LEVEL": "debug"}, "type": "stdio"},
        "box": {"command": "server", "image": "example/server:1", "cwd": "/data"},
        "docs": {"type": "http", "url": "https://docs.example.com/mcp", "headers": {"X-Team": "a"}, "timeout": 5000},
        "plain": {"url": "https://1.1.1.1/mcp"},
    }}))
    .unwrap();
    let kinds: Vec<&str> = servers.values().map(|server| server.transport.as_str()).collect();
    assert_eq!(kinds, ["container", "http", "http", "session"]);
    let docs = &servers[&name("docs")];
    assert_eq!((docs.times.call_ms, docs.times.call_max_ms), (5000, 5000));
    assert!(matches!(docs.transport, Transport::Http { private: false, .. }));
    assert!(parse(&json!({"mcpServers": {}})).unwrap().is_empty());
}

#[test]
fn a_session_brings_nothing_that_belongs_to_the_operator() {
    for (server, field) in [
        (json!({"command": "a", "transport": "stdio"}), "transport"),
        (json!({"command": "a", "sharing": "shared"}), "sharing"),
        (json!({"command": "a", "image": "b", "mounts": []}), "mounts"),
        (
            json!({"command": "a", "image": "b", "allow": ["a.example"]}),
            "allow",
        ),
        (json!({"url": "https://a.example", "oauth": {}}), "oauth"),
        (json!({"url": "https://a.example", "private": true}), "private"),
        (json!({"command": "a", "env": {"A": {"env": "HOME"}}}), "env.A"),
        (
            json!({"command": "a", "env": {"GITHUB_TOKEN": CANARY}}),
            "env.GITHUB_TOKEN",
        ),
        (
            json!({"command": "a", "env": {"A": format!("ghp_{CANARY}{}", "a".repeat(40))}}),
            "env.A",
        ),
        (
            json!({"command": "a", "env": {"A": format!("${{{CANARY}}}")}}),
            "env.A",
        ),
        (
            json!({"url": "https://a.example", "headers": {"Authorization": CANARY}}),
            "headers.Authorization",
        ),
        (
            json!({"url": "https://a.example", "headers": {"x-api-key": CANARY}}),
            "headers.x-api-key",
        ),
        (
            json!({"url": "https://a.example", "headers": {"X-A": "${B}"}}),
            "headers.X-A",
        ),
        (json!({"url": "https://a.example/${B}"}), "url"),
        (json!({"url": "http://a.example"}), "url"),
        (json!({"url": "https://localhost/"}), "url"),
        (json!({"url": "https://a.localhost/"}), "url"),
        (json!({"url": "https://intranet/"}), "url"),
        (json!({"url": "https://127.0.0.1/"}), "url"),
        (json!({"url": "https://0x7f.1/"}), "url"),
        (json!({"url": "https://10.1.2.3/"}), "url"),
        (json!({"url": "https://100.64.0.1/"}), "url"),
        (json!({"url": "https://169.254.169.254/"}), "url"),
        (json!({"url": "https://[::1]/"}), "url"),
        (json!({"url": "https://[fd00::1]/"}), "url"),
        (json!({"url": "https://[fe80::1]/"}), "url"),
        (json!({"url": "https://[::ffff:10.0.0.1]/"}), "url"),
        (json!({"type": "sse", "url": "https://a.example"}), "type"),
        (json!({"type": "ws", "url": "https://a.example"}), "type"),
        (json!({"type": "stdio", "url": "https://a.example"}), "url"),
        (json!({"url": "https://a.example", "command": "a"}), "command"),
        (json!({"command": "a", "image": "-b"}), "image"),
        (json!({"command": "a", "timeout": 0}), "times.start_ms"),
    ] {
        let field = if field.starts_with("times") {
            "times.call_ms"
        } else {
            field
        };
        let said = refused(&one(server.clone()));
        assert!(
            said.contains(&format!("field: mcpServers.own.{field})")),
            "{server}: {said}"
        );
    }
}

#[test]
fn a_secret_in_a_header_is_the_operators_affair() {
    for value in ["", "x"] {
        let config = one(json!({"url": "https://a.example", "headers": {"Authorization": value}}));
        let error = parse(&config).unwrap_err();
        assert!(error.hint().unwrap().contains("cofferdam mcp add"), "{error}");
    }
}

#[test]
fn what_is_no_configuration_is_refused() {
    for config in [
        json!(null),
        json!([]),
        json!({}),
        json!({"mcpServers": []}),
        json!({"mcpServers": null}),
        json!({"mcpServers": {}, "other": 1}),
        one(json!(null)),
        one(json!({})),
        one(json!([])),
        json!({"mcpServers": {"Git Hub": {"command": "a"}}}),
        json!({"mcpServers": {"a__b": {"command": "a"}}}),
        json!({"mcpServers": {"": {"command": "a"}}}),
    ] {
        refused(&config);
    }
    let servers = |count: usize| -> Json {
        let servers: serde_json::Map<String, Json> = (0..count)
            .map(|number| (format!("s{number}"), json!({"command": "a"})))
            .collect();
        json!({"mcpServers": servers})
    };
    assert_eq!(parse(&servers(32)).unwrap().len(), 32);
    refused(&servers(33));
}

proptest! {
    #[test]
    fn whatever_a_session_brings_nothing_runs_on_the_host_or_has_a_secret(server in json_with_canary()) {
        for config in [one(server.clone()), json!({"mcpServers": server.clone()}), server] {
            match parse(&config) {
                Err(error) => {
                    let said = format!("{error} {error:?} {:?}", error.hint());
                    prop_assert!(!said.contains(CANARY), "{}", said);
                }
                Ok(servers) => for definition in servers.values() {
                    prop_assert!(definition.check().is_ok());
                    let fine = match &definition.transport {
                        Transport::Stdio { .. } => false,
                        Transport::Session { .. } => true,
                        Transport::Container { allow, mounts, .. } => allow.is_empty() && mounts.is_empty(),
                        Transport::Http { headers, oauth, private, .. } => {
                            oauth.is_none() && !private && headers.values().all(|value| matches!(value, Value::Plain(_)))
                        }
                    };
                    prop_assert!(fine, "{:?}", definition);
                },
            }
        }
    }
}
