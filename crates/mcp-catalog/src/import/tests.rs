use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use session_core::secret::SecretReference;

use super::*;
use crate::testing::{CANARY, Home, json_with_canary, name, stdio};
use crate::{Transport, Value};

fn import(home: &Home, json: &Json) -> Imported {
    home.catalog
        .import(&json.to_string(), &Import::default())
        .unwrap()
}

fn transport(home: &Home, server: &str) -> Transport {
    home.catalog.declared().unwrap().servers[&name(server)]
        .transport
        .clone()
}

fn reference(prefix: &str, variable: &str) -> Value {
    Value::Secret(crate::SecretValue {
        prefix: prefix.to_owned(),
        secret: SecretReference::Env(variable.to_owned()),
    })
}

fn moved(server: &str, field: &str, suggested: &str) -> SecretToMove {
    SecretToMove {
        server: name(server),
        field: field.to_owned(),
        suggested: suggested.to_owned(),
    }
}

#[test]
fn claude_desktop_with_secrets_in_plain_text() {
    let home = Home::new();
    let token = format!("ghp_{CANARY}{}", "a".repeat(40));
    let imported = import(
        &home,
        &json!({"globalShortcut": "", "mcpServers": {
            "GitHub": {
                "command": "npx",
                "args": ["-y", "@modelcontextprotocol/server-github"],
                "env": {"GITHUB_PERSONAL_ACCESS_TOKEN": token, "LEVEL": "info", "PORT": 3000},
            },
            "files": {"command": "npx", "args": ["-y", "server-filesystem", "/srv"], "disabled": true},
        }}),
    );
    assert_eq!(imported.added, [name("github"), name("files")]);
    assert_eq!(imported.renamed, [("GitHub".to_owned(), name("github"))]);
    assert!(imported.skipped.is_empty());
    let variable = "GW_GITHUB_GITHUB_PERSONAL_ACCESS_TOKEN";
    assert_eq!(
        imported.secrets,
        [moved("github", "env.GITHUB_PERSONAL_ACCESS_TOKEN", variable)]
    );
    let Transport::Stdio { env, .. } = transport(&home, "github") else {
        panic!();
    };
    let expected: BTreeMap<String, Value> = [
        ("GITHUB_PERSONAL_ACCESS_TOKEN".to_owned(), reference("", variable)),
        ("LEVEL".to_owned(), Value::Plain("info".to_owned())),
        ("PORT".to_owned(), Value::Plain("3000".to_owned())),
    ]
    .into();
    assert_eq!(env, expected);
    assert!(!home.catalog.declared().unwrap().servers[&name("files")].enabled);
    assert!(!home.text().contains(CANARY));
}

#[test]
fn claude_code_with_variables_and_headers() {
    let home = Home::new();
    let imported = import(
        &home,
        &json!({"mcpServers": {
            "docs": {"type": "http", "url": "https://a.example/mcp", "headers": {
                "Authorization": "Bearer ${DOCS_TOKEN:-none}", "X-Team": "a", "X-Api-Key": format!("{CANARY} "),
            }},
            "api": {"type": "http", "url": "https://b.example/mcp", "headers": {"Authorization": format!("Bearer {CANARY}")}},
            "db": {"command": "db", "env": {"DATABASE_URL": format!("postgres://u:{CANARY}@h/d"), "HOST": "${DB_HOST}"}},
            "here": {"url": "http://localhost:9000/mcp"},
        }}),
    );
    assert_eq!(imported.added.len(), 4, "{imported:?}");
    let mut secrets = imported.secrets.clone();
    secrets.sort_by(|a, b| (&a.server, &a.field).cmp(&(&b.server, &b.field)));
    assert_eq!(
        secrets,
        [
            moved("api", "headers.Authorization", "GW_API_AUTHORIZATION"),
            moved("db", "env.DATABASE_URL", "GW_DB_DATABASE_URL"),
            moved("db", "env.HOST", "DB_HOST"),
            moved("docs", "headers.Authorization", "DOCS_TOKEN"),
            moved("docs", "headers.X-Api-Key", "GW_DOCS_X_API_KEY"),
        ]
    );
    let headers = |server: &str| match transport(&home, server) {
        Transport::Http { headers, .. } => headers,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        headers("docs")["Authorization"],
        reference("Bearer ", "DOCS_TOKEN")
    );
    assert_eq!(
        headers("api")["Authorization"],
        reference("Bearer ", "GW_API_AUTHORIZATION")
    );
    assert_eq!(headers("docs")["X-Team"], Value::Plain("a".to_owned()));
    assert!(matches!(
        transport(&home, "here"),
        Transport::Http { private: true, .. }
    ));
    assert!(!home.text().contains(CANARY));
}

#[test]
fn cursor_and_visual_studio_code() {
    for (file, variable) in [
        (
            json!({"mcpServers": {"a": {"url": "https://a.example", "headers": {"X-K": "${env:MY_KEY}"}}}}),
            "MY_KEY",
        ),
        (
            json!({"inputs": [{"id": "key"}], "servers": {"a": {"type": "http", "url": "https://a.example",
                "headers": {"X-K": "${input:key}"}}}}),
            "GW_A_X_K",
        ),
        (
            json!({"mcp": {"servers": {"a": {"serverUrl": "https://a.example", "headers": {"X-K": "t ${K}"}}}}}),
            "K",
        ),
    ] {
        let home = Home::new();
        let imported = import(&home, &file);
        assert_eq!(imported.secrets, [moved("a", "headers.X-K", variable)]);
    }
}

#[test]
fn what_cannot_be_declared_is_left_out_with_a_reason() {
    let token = format!("ghp_{CANARY}{}", "a".repeat(40));
    for (server, words) in [
        (json!(null), "not an object"),
        (json!({}), "neither a command nor a url"),
        (json!({"command": 1}), "command"),
        (json!({"command": "${HOME}/x"}), "command: a variable"),
        (json!({"command": "./x"}), "relative path"),
        (json!({"command": "a b"}), "blanks"),
        (json!({"command": "a", "args": "b"}), "args"),
        (json!({"command": "a", "args": [1]}), "args.0"),
        (
            json!({"command": "a", "args": ["${workspaceFolder}"]}),
            "args.0: a variable",
        ),
        (
            json!({"command": "a", "args": ["--api-key", CANARY]}),
            "args.1: an argument holds a secret",
        ),
        (
            json!({"command": "a", "args": [format!("--token={CANARY}")]}),
            "args.0: an argument holds",
        ),
        (
            json!({"command": "docker", "args": ["run", "-e", format!("API_KEY={CANARY}")]}),
            "args.2",
        ),
        (
            json!({"command": "a", "args": [token]}),
            "args.0: an argument holds",
        ),
        (json!({"command": "a", "env": {"A": [CANARY]}}), "env.A"),
        (
            json!({"command": "a", "env": {"A": format!("${{B}}{CANARY}${{C}}")}}),
            "env.A: it is put together",
        ),
        (
            json!({"command": "a", "env": {"A": "${workspaceFolder}"}}),
            "env.A: it refers",
        ),
        (
            json!({"command": "a", "env": {"A": format!("{token} ${{B}}")}}),
            "env.A: it holds a secret",
        ),
        (
            json!({"command": "a", "envFile": ".env"}),
            "environment from a file",
        ),
        (
            json!({"type": "sse", "url": "https://a.example"}),
            "streamable HTTP",
        ),
        (json!({"type": CANARY, "url": "https://a.example"}), "type"),
        (json!({"url": format!("https://a.example?key={CANARY}")}), "url"),
        (json!({"url": format!("https://u:{CANARY}@a.example")}), "url"),
        (json!({"url": "http://a.example"}), "url"),
        (
            json!({"url": "https://a.example", "headers": {"Host": "b"}}),
            "headers.Host",
        ),
    ] {
        let home = Home::new();
        let imported = import(
            &home,
            &json!({"mcpServers": {"bad": server, "good": {"command": "good"}}}),
        );
        assert_eq!(imported.added, [name("good")], "{server}");
        assert_eq!(imported.skipped.len(), 1);
        assert!(imported.secrets.is_empty(), "{server}");
        let (left_out, reason) = &imported.skipped[0];
        assert_eq!(left_out, "bad");
        assert!(reason.contains(words), "{server}: {reason}");
        assert!(!reason.contains(CANARY), "{reason}");
    }
}

#[test]
fn names_are_made_legal_and_stay_apart() {
    let home = Home::new();
    let imported = import(
        &home,
        &json!({"mcpServers": {
            "My Server": {"command": "a"}, "my_server": {"command": "b"}, "my-server!": {"command": "c"},
            "Ä__b": {"command": "d"}, "": {"command": "e"}, "...": {"command": "f"},
            "a-very-long-name-that-nobody-can-remember": {"command": "g"},
        }}),
    );
    assert_eq!(imported.added.len(), 7, "{imported:?}");
    let commands: BTreeMap<String, String> = home
        .catalog
        .declared()
        .unwrap()
        .servers
        .iter()
        .map(|(name, definition)| match &definition.transport {
            Transport::Stdio { command, .. } => (command.clone(), name.to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(commands["b"], "my_server");
    assert_eq!(commands["a"], "my-server");
    assert_eq!(commands["c"], "my-server-2");
    assert_eq!(commands["d"], "b");
    assert_eq!(commands["g"], "a-very-long-name-that-no");
}

#[test]
fn servers_that_are_declared_stay_unless_they_are_to_be_replaced() {
    let home = Home::declaring("# mine\n[servers.git]\ncommand = \"mine\" # good\n");
    let file = json!({"mcpServers": {"git": {"command": "theirs"}, "time": {"command": "time"}}}).to_string();
    let import = |import: Import| home.catalog.import(&file, &import);
    let only_git = Import {
        only: vec!["git".to_owned()],
        replace: false,
    };
    let imported = import(only_git.clone()).unwrap();
    assert!(imported.added.is_empty());
    assert_eq!(imported.skipped[0].0, "git");
    assert_eq!(home.text(), "# mine\n[servers.git]\ncommand = \"mine\" # good\n");
    let imported = import(Import {
        replace: true,
        ..only_git
    });
    assert_eq!(imported.unwrap().added, [name("git")]);
    assert_eq!(
        home.catalog.declared().unwrap().servers[&name("git")],
        stdio("theirs")
    );
    assert_eq!(home.catalog.declared().unwrap().servers.len(), 1);
    assert!(home.text().starts_with("# mine\n"));
    let error = import(Import {
        only: vec!["none\n".to_owned()],
        replace: false,
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_no_file_of_a_client_is_refused_with_its_place() {
    let home = Home::new();
    for text in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        format!("\"{CANARY}\""),
        format!("{{\"mcpServers\": \"{CANARY}\"}}"),
        format!("{{\"mcpServers\": [\"{CANARY}\"]}}"),
        "{\"mcpServers\": {} // comment\n}".to_owned(),
        format!("{{\"mcpServers\": {{\"a\": \"{CANARY}"),
        "{\"mcpServers\": {\"a\": {\"command\": \"a\"}, \"a\": {\"command\": \"b\"}}}".to_owned(),
    ] {
        let error = home.catalog.import(&text, &Import::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.hint().is_some());
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error:?}");
    }
    assert!(!home.servers().exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_is_imported_no_panic_and_no_secret(file in json_with_canary(), servers in json_with_canary()) {
        let secret = format!("sk-ant-api03-{}{CANARY}", "a".repeat(16));
        for file in [file, json!({"mcpServers": servers})] {
            let home = Home::new();
            if let Ok(imported) = home.catalog.import(&file.to_string(), &Import::default()) {
                prop_assert!(!format!("{imported:?}").contains(CANARY), "{:?}", imported);
                if !imported.added.is_empty() {
                    prop_assert!(!home.text().contains(&secret), "{}", home.text());
                }
                let declared = home.catalog.declared().unwrap();
                prop_assert_eq!(declared.servers.len(), imported.added.len());
            }
        }
    }

    #[test]
    fn any_text_is_an_error_or_a_file_and_never_a_panic(text in any::<String>()) {
        let home = Home::new();
        let _ = home.catalog.import(&text, &Import::default());
    }

    #[test]
    fn any_name_becomes_legal_and_free(original in any::<String>(), taken in prop::collection::btree_set("[a-c]{1,2}", 0..12)) {
        let taken: BTreeSet<ServerName> = taken.iter().map(|text| name(text)).collect();
        let legal = names::legal(&original, &taken);
        prop_assert!(!taken.contains(&legal));
        if let Ok(fine) = original.parse::<ServerName>() && !taken.contains(&fine) && !original.contains("-_") && !original.contains("_-") && !original.contains("--") && !original.ends_with('-') {
            prop_assert_eq!(legal, fine);
        }
    }
}
