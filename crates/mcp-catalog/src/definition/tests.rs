use proptest::prelude::*;
use serde_json::{Value as Json, json};
use session_core::error::ErrorKind;

use super::*;
use crate::testing::{CANARY, definition, json_with_canary, stdio};

fn read(toml: &str) -> ServerDefinition {
    toml_edit::de::from_str(toml).unwrap()
}

#[test]
fn the_transport_is_what_the_other_keys_say() {
    for (toml, transport) in [
        ("command = \"git\"", "stdio"),
        ("url = \"https://a.example\"", "http"),
        ("image = \"a\"\ncommand = \"b\"", "container"),
        ("transport = \"container\"\ncommand = \"b\"", "container"),
        ("transport = \"session\"\ncommand = \"b\"", "session"),
    ] {
        assert_eq!(read(toml).transport.as_str(), transport, "{toml}");
    }
}

#[test]
fn a_whole_definition_is_read() {
    let definition = read(
        r#"
        description = "Repositories"
        command = "mcp-server-git"
        args = ["--repository", "/srv/repo"]
        env = { TOKEN = { env = "GIT_TOKEN" }, AUTH = { prefix = "Bearer ", command = ["vault", "read"] }, LEVEL = "info" }
        cwd = "/srv"
        sharing = "shared"
        tools = { allow = ["git_*"], deny = ["git_push"] }
        idempotent = ["git_log"]
        approval = "each"
        names = "bare"
        times = { idle_ms = 5 }
        enabled = false
        "#,
    );
    let Transport::Stdio { env, .. } = &definition.transport else {
        panic!("{definition:?}");
    };
    assert_eq!(env["LEVEL"], Value::Plain("info".to_owned()));
    assert_eq!(
        env["AUTH"],
        Value::Secret(SecretValue {
            prefix: "Bearer ".to_owned(),
            secret: SecretReference::Command(vec!["vault".to_owned(), "read".to_owned()]),
        })
    );
    assert_eq!(definition.times.idle_ms, 5);
    assert_eq!(definition.times.start_ms, Times::default().start_ms);
    assert!(definition.tools.admits("git_log") && !definition.tools.admits("git_push"));
    assert!(!definition.tools.admits("other"));
    definition.check().unwrap();
}

#[test]
fn keys_that_would_do_nothing_are_refused_by_name() {
    for (written, field) in [
        (json!({"command": "a", "comand": "b"}), "comand"),
        (
            json!({"command": "a", "url": "https://a.example", "transport": "stdio"}),
            "url",
        ),
        (json!({"command": "a", "url": "https://a.example"}), "command"),
        (json!({"command": "a", "headers": {}}), "headers"),
        (json!({"command": "a", "allow": []}), "allow"),
        (json!({"url": "https://a.example", "env": {}}), "env"),
        (json!({"url": "https://a.example", "image": "a"}), "image"),
        (
            json!({"transport": "session", "command": "a", "mounts": []}),
            "mounts",
        ),
        (
            json!({"transport": "session", "command": "a", "private": true}),
            "private",
        ),
        (json!({"command": "a", "tools": {"alow": []}}), "tools.alow"),
        (json!({"command": "a", "times": {"idle": 1}}), "times.idle"),
        (
            json!({"url": "https://a.example", "oauth": {"secret": "x"}}),
            "oauth.secret",
        ),
        (json!({"command": "a", "args": ["b", 1]}), "args.1"),
        (json!({"command": "a", "env": {"PORT": 1}}), "env.PORT"),
        (
            json!({"command": "a", "env": {"A": {"env": "B", "file": "/c"}}}),
            "env.A",
        ),
        (json!({"command": "a", "env": {"A": {"prefix": "B"}}}), "env.A"),
        (
            json!({"transport": "container", "command": "a", "env": {"A": {"env": "B"}}}),
            "env.A",
        ),
        (
            json!({"transport": "container", "command": "a", "allow": ["a.example", "10.0.0.1"]}),
            "allow.1",
        ),
        (json!({"command": "a", "times": [1, 2, 3, 4]}), "times"),
        (json!({"command": "a", "tools": [["b"]]}), "tools"),
        (json!({"url": "https://a.example", "oauth": ["a"]}), "oauth"),
        (
            json!({"transport": "container", "command": "a", "mounts": [["/a", "/b"]]}),
            "mounts.0",
        ),
        (json!({"image": "../a", "command": "a"}), "image"),
        (json!({"transport": "ssh", "command": "a"}), "transport"),
    ] {
        let flaw = ServerDefinition::read(&written).unwrap_err();
        assert_eq!(flaw.place(), field, "{written}: {flaw}");
    }
    for written in [
        json!({}),
        json!({"transport": "http"}),
        json!(null),
        json!([]),
        json!("a"),
    ] {
        ServerDefinition::read(&written).unwrap_err();
    }
}

#[test]
fn a_transport_alone_is_read_and_nothing_else() {
    let transport: Transport = serde_json::from_value(json!({"command": "a"})).unwrap();
    assert_eq!(transport, stdio("a").transport);
    assert!(serde_json::from_value::<Transport>(json!({"command": "a", "enabled": false})).is_err());
}

/// The place of the flaw of a definition that can be read.
fn flaw_of(written: &Json) -> String {
    let definition = ServerDefinition::read(written).unwrap_or_else(|flaw| panic!("{written}: {flaw}"));
    let error = definition.check().expect_err(&written.to_string());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.hint().is_some());
    let said = format!("{error} {error:?} {:?}", error.hint());
    assert!(!said.contains(CANARY), "{said}");
    assert_eq!(error.context()[0].0, "field", "{written}");
    error.context()[0].1.clone()
}

fn with(field: &str, value: Json) -> Json {
    json!({"command": "a", field: value})
}

#[test]
fn programs_that_cannot_be_are_refused() {
    let long = "a".repeat(128 << 10);
    for (written, field) in [
        (with("command", json!("")), "command"),
        (with("command", json!(" a")), "command"),
        (with("command", json!("npx -y server")), "command"),
        (with("command", json!("./a")), "command"),
        (with("command", json!("bin/a")), "command"),
        (with("command", json!("a\0")), "command"),
        (with("args", json!(["\0"])), "args.0"),
        (with("args", json!([long])), "args.0"),
        (with("args", json!(vec!["a".repeat(64 << 10); 20])), "args"),
        (with("args", json!(vec!["a"; 1025])), "args"),
        (with("cwd", json!("relative")), "cwd"),
        (with("cwd", json!("/a\0")), "cwd"),
        (with("env", json!({"": "a"})), "env.…"),
        (with("env", json!({"A=B": "a"})), "env.…"),
        (with("env", json!({"A": "a\0"})), "env.A"),
        (with("env", json!({"A": {"env": "B C"}})), "env.A"),
        (with("env", json!({"A": {"command": ["./b"]}})), "env.A.command"),
        (with("env", json!({"A": "a".repeat(65 << 10)})), "env.A"),
        (with("description", json!("two\nlines")), "description"),
        (with("description", json!("a".repeat(1025))), "description"),
        (with("tools", json!({"allow": ["a*b"]})), "tools.allow.0"),
        (with("tools", json!({"deny": ["a", ""]})), "tools.deny.1"),
        (with("idempotent", json!(["a*"])), "idempotent.0"),
        (with("times", json!({"start_ms": 0})), "times.start_ms"),
        (with("times", json!({"idle_ms": 86_400_001})), "times.idle_ms"),
        (
            with("times", json!({"call_ms": 10, "call_max_ms": 9})),
            "times.call_ms",
        ),
    ] {
        assert_eq!(flaw_of(&written), field);
    }
}

#[test]
fn secrets_are_refused_wherever_they_are_written_down() {
    let token = format!("ghp_{CANARY}{}", "a".repeat(40));
    for (written, field) in [
        (with("args", json!([token])), "args.0"),
        (
            with("args", json!([format!("--header=Authorization: Bearer {token}")])),
            "args.0",
        ),
        (with("args", json!([format!("GITHUB_TOKEN={token}")])), "args.0"),
        (
            with("args", json!([format!("postgresql://user:{CANARY}@host/db")])),
            "args.0",
        ),
        (with("env", json!({"A": token})), "env.A"),
        (with("env", json!({"GITHUB_TOKEN": CANARY})), "env.GITHUB_TOKEN"),
        (with("env", json!({"A": {"prefix": token, "env": "B"}})), "env.A"),
        (with("env", json!({token.clone(): "a\0"})), "env.…"),
        (
            json!({"transport": "session", "command": "a", "env": {"A": token}}),
            "env.A",
        ),
        (
            json!({"transport": "container", "command": "a", "env": {"GH_TOKEN": CANARY}}),
            "env.GH_TOKEN",
        ),
        (json!({"url": format!("https://user:{CANARY}@a.example")}), "url"),
        (
            json!({"url": format!("https://a.example?api_key={CANARY}")}),
            "url",
        ),
        (json!({"url": format!("https://a.example?x={token}")}), "url"),
        (
            json!({"url": "https://a.example", "headers": {"X-A": format!("Bearer {token}")}}),
            "headers.X-A",
        ),
        (
            json!({"url": "https://a.example", "headers": {"authorization": CANARY}}),
            "headers.authorization",
        ),
        (
            json!({"url": "https://a.example", "oauth": {"client_id": token}}),
            "oauth.client_id",
        ),
    ] {
        assert_eq!(flaw_of(&written), field, "{written}");
    }
}

#[test]
fn a_program_in_a_container_is_told_where_credentials_belong() {
    let definition = ServerDefinition::read(
        &json!({"transport": "session", "command": "a", "env": {"GITHUB_TOKEN": "x"}}),
    );
    let error = definition.unwrap().check().unwrap_err();
    assert!(error.hint().unwrap().contains("docs/guides/egress.md"));
}

#[test]
fn addresses_and_header_fields_that_cannot_be_are_refused() {
    for url in [
        "",
        "a.example",
        "ftp://a.example",
        "http://a.example",
        "http://127.0.0.1.a.example",
        "https://",
        "https://a.example/#b",
        "https://a.example/ b",
        "https://a.exa\nmple/",
        "https://u@a.example",
        "http://localhost:1/mcp",
        "https://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
    ] {
        assert_eq!(flaw_of(&json!({"url": url})), "url", "{url}");
    }
    for url in [
        "http://localhost:1/mcp",
        "http://127.0.0.1:9/",
        "http://[::1]/",
        "http://a.localhost/",
    ] {
        ServerDefinition::read(&json!({"url": url, "private": true}))
            .unwrap()
            .check()
            .unwrap();
    }
    for name in [
        "",
        "a b",
        "Host",
        "content-length",
        "Mcp-Session-Id",
        "Connection",
        "Proxy-Authorization",
        "ä",
    ] {
        let place = flaw_of(&json!({"url": "https://a.example", "headers": {name: "a"}}));
        assert!(place.starts_with("headers."), "{name}: {place}");
    }
    for value in ["a\nb", "a\r\nX: y", "ä", "\0"] {
        assert_eq!(
            flaw_of(&json!({"url": "https://a.example", "headers": {"X-A": value}})),
            "headers.X-A"
        );
    }
    assert_eq!(
        flaw_of(&json!({"url": "https://a.example", "headers": {"X-A": "1", "x-a": "2"}})),
        "headers.x-a"
    );
    assert_eq!(
        flaw_of(
            &json!({"url": "https://a.example", "oauth": {}, "headers": {"Authorization": {"env": "A"}}})
        ),
        "headers.Authorization"
    );
    assert_eq!(
        flaw_of(&json!({"url": "https://a.example", "oauth": {"client_secret": {"env": "A"}}})),
        "oauth.client_id"
    );
    assert_eq!(
        flaw_of(&json!({"url": "https://a.example", "oauth": {"scopes": ["a", "b c"]}})),
        "oauth.scopes.1"
    );
}

#[test]
fn containers_see_no_directory_twice_and_none_of_their_own() {
    let container = |mounts: Json| json!({"transport": "container", "command": "a", "mounts": mounts});
    for (mounts, field) in [
        (json!([{"source": "data", "target": "/data"}]), "mounts.0.source"),
        (json!([{"source": "/a", "target": "/proc/x"}]), "mounts.0.target"),
        (
            json!([{"source": "/a", "target": "/d"}, {"source": "/b", "target": "/d"}]),
            "mounts.1.target",
        ),
    ] {
        assert_eq!(flaw_of(&container(mounts)), field);
    }
    assert_eq!(
        flaw_of(&json!({"transport": "container", "command": "a", "cwd": "a"})),
        "cwd"
    );
    assert_eq!(
        flaw_of(&json!({"transport": "session", "command": "a", "cwd": "/proc/self"})),
        "cwd"
    );
}

#[test]
fn names_sound_secret_by_their_last_word() {
    for name in [
        "GITHUB_TOKEN",
        "--api-key",
        "apikey",
        "tavilyApiKey",
        "password",
        "DB_PASS",
        "X-Api-Key",
    ] {
        assert!(sounds_secret(name), "{name}");
    }
    for name in [
        "MONKEY",
        "TOKENIZER",
        "KEYBOARD",
        "compass",
        "LEVEL",
        "",
        "pattern",
    ] {
        assert!(!sounds_secret(name), "{name}");
    }
}

proptest! {
    #[test]
    fn a_definition_is_the_same_after_toml_and_json(definition in definition()) {
        definition.check().unwrap();
        let json = serde_json::to_string(&definition).unwrap();
        prop_assert_eq!(&serde_json::from_str::<ServerDefinition>(&json).unwrap(), &definition);
        let toml = toml_edit::ser::to_string(&definition).unwrap();
        let again: ServerDefinition = toml_edit::de::from_str(&toml).unwrap();
        prop_assert_eq!(again.digest(), definition.digest());
        prop_assert_eq!(again, definition);
    }

    #[test]
    fn different_definitions_have_different_addresses(one in definition(), other in definition()) {
        prop_assert_eq!(one.digest() == other.digest(), one == other);
    }

    #[test]
    fn no_error_repeats_what_stands_there(written in json_with_canary()) {
        let said = match ServerDefinition::read(&written) {
            Ok(definition) => match definition.check() {
                Ok(()) => String::new(),
                Err(error) => format!("{error} {error:?} {:?}", error.hint()),
            },
            Err(flaw) => format!("{flaw} {flaw:?}"),
        };
        prop_assert!(!said.contains(CANARY), "{}", said);
        if let Err(error) = serde_json::from_value::<ServerDefinition>(written) {
            prop_assert!(!error.to_string().contains(CANARY), "{}", error);
        }
    }
}
