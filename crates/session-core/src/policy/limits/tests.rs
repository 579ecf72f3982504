use std::time::Duration;

use proptest::prelude::*;
use secrecy::SecretString;

use super::*;
use crate::gateway::ProviderAccount;
use crate::mcp::McpSelection;

fn env(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

fn create() -> CreateSession {
    CreateSession::default()
}

fn refuse(result: Result<()>) -> Error {
    let error = result.expect_err("must be refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    error
}

fn mount(target: &str) -> HostMount {
    HostMount {
        source: "/srv/data".into(),
        target: target.to_owned(),
        read_only: true,
    }
}

#[test]
fn a_full_and_reasonable_request_passes() {
    validate_create(&CreateSession {
        name: Some("naïve project".into()),
        labels: BTreeMap::from([("team/app".to_owned(), "a\nb".to_owned())]),
        env: BTreeMap::from([
            ("RUST_LOG".to_owned(), "debug".to_owned()),
            (
                "ANTHROPIC_DEFAULT_HAIKU_MODEL".to_owned(),
                "claude-haiku-4-5".to_owned(),
            ),
            ("npm_config_cache".to_owned(), "/tmp/npm_cache".to_owned()),
        ]),
        limits: Some(ResourceLimits::default()),
        mounts: vec![
            mount("/data"),
            mount("/workspace/cache"),
            mount("/home/agent/.cargo"),
        ],
        model: Some("claude-opus-5-5[1m]".into()),
        account: Some(ProviderAccount::ApiKey(SecretString::from("sk-ant-api03-abc"))),
        small_model: Some("claude-haiku-4-5".into()),
        allow: vec!["npm".parse().unwrap(), "*.example.com".parse().unwrap()],
        idempotency_key: Some("9b2e".into()),
        ..create()
    })
    .unwrap();
}

#[test]
fn names_labels_models_and_keys_are_bounded() {
    for name in ["", " ", "a\nb", "a\0b", &"x".repeat(MAX_NAME_BYTES + 1)] {
        refuse(validate_create(&CreateSession {
            name: Some(name.to_owned()),
            ..create()
        }));
    }
    for (key, value) in [
        ("", ""),
        ("-a", ""),
        ("a b", ""),
        ("dev.cofferdam.owner", "me"),
        ("a", "\0"),
        ("a", &"x".repeat(MAX_LABEL_VALUE_BYTES + 1)),
        (&"k".repeat(MAX_LABEL_KEY_BYTES + 1), ""),
    ] {
        refuse(validate_create(&CreateSession {
            labels: env(key, value),
            ..create()
        }));
    }
    let many = (0..=MAX_LABELS)
        .map(|number| (format!("l{number}"), String::new()))
        .collect();
    refuse(validate_create(&CreateSession {
        labels: many,
        ..create()
    }));
    for model in ["", "--resume", "a b", "a\n"] {
        refuse(validate_create(&CreateSession {
            model: Some(model.to_owned()),
            ..create()
        }));
        refuse(validate_create(&CreateSession {
            small_model: Some(model.to_owned()),
            ..create()
        }));
    }
    for key in ["", "a b", "é", &"k".repeat(MAX_IDEMPOTENCY_KEY_BYTES + 1)] {
        refuse(validate_idempotency_key(key));
    }
}

#[test]
fn a_lifetime_is_neither_nothing_nor_for_ever() {
    for limit in [0, LIFETIME_MS.end() + 1, u64::MAX] {
        let limit = Some(limit);
        for lifetime in [
            Lifetime {
                idle_ms: limit,
                ..Lifetime::default()
            },
            Lifetime {
                max_ms: limit,
                ..Lifetime::default()
            },
            Lifetime {
                lease_ms: limit,
                ..Lifetime::default()
            },
        ] {
            refuse(validate_create(&CreateSession { lifetime, ..create() }));
        }
    }
    let lifetime = Lifetime {
        idle_ms: Some(1),
        max_ms: Some(*LIFETIME_MS.end()),
        lease_ms: Some(60_000),
        keep_on_failure: true,
    };
    validate_create(&CreateSession { lifetime, ..create() }).unwrap();
}

#[test]
fn a_key_is_for_a_command_that_can_be_come_back_to() {
    let keyed = |key: &str, on_disconnect| {
        validate_command(&CommandRequest {
            idempotency_key: Some(key.to_owned()),
            on_disconnect,
            ..CommandRequest::new(["true"])
        })
    };
    keyed("9b2e", OnDisconnect::Detach).unwrap();
    refuse(keyed("9b2e", OnDisconnect::Cancel));
    refuse(keyed("a b", OnDisconnect::Detach));
}

#[test]
fn i3_no_credential_gets_into_an_environment_or_an_error() {
    let canary = format!("ghp_{}", "c".repeat(36));
    for (name, value) in [
        ("ANTHROPIC_API_KEY", "canary"),
        ("anthropic_api_key", "canary"),
        ("AWS_SECRET_ACCESS_KEY", "canary"),
        ("GITHUB_TOKEN", "canary"),
        ("INNOCENT", &canary),
        ("PADDED", &format!("  {canary}\n")),
        (
            "KEY",
            &format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}", "canary".repeat(20)),
        ),
    ] {
        let error = refuse(validate_env(&env(name, value)));
        assert!(
            error.hint().is_some_and(|hint| hint.contains("gateway")),
            "{name}"
        );
        assert!(!format!("{error} {error:?}").contains(value.trim()), "{name}");
    }
    let error = refuse(validate_create(&CreateSession {
        account: Some(ProviderAccount::ApiKey(SecretString::from("sk-ant-canary\n"))),
        ..create()
    }));
    assert!(!format!("{error:?}").contains("canary"));
}

#[test]
fn nothing_steers_the_agent_past_the_gateway() {
    for name in [
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_BEDROCK_BASE_URL",
        "ANTHROPIC_CUSTOM_HEADERS",
        "CLAUDE_CODE_USE_VERTEX",
        "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST",
        "CLAUDE_CONFIG_DIR",
    ] {
        refuse(validate_env(&env(name, "x")));
    }
}

#[test]
fn environments_that_no_program_can_be_given_are_refused() {
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0"), ("A\n", "x")] {
        refuse(validate_env(&env(name, value)));
    }
    refuse(validate_env(&env("A", &"x".repeat((64 << 10) + 1))));
    refuse(validate_env(
        &(0..10).map(|n| (format!("V{n}"), "x".repeat(60 << 10))).collect(),
    ));
    refuse(validate_env(
        &(0..1025).map(|n| (format!("V{n}"), String::new())).collect(),
    ));
}

#[test]
fn argument_vectors_are_what_the_kernel_takes() {
    let command = |argv: Vec<Vec<u8>>| validate_command(&CommandRequest::new(argv));
    command(vec![
        b"printf".to_vec(),
        vec![],
        vec![0xff, b'\n'],
        vec![b'x'; MAX_ARGUMENT_BYTES],
    ])
    .unwrap();
    for argv in [
        vec![],
        vec![vec![]],
        vec![b"a\0b".to_vec()],
        vec![b"a".to_vec(), vec![b'x'; MAX_ARGUMENT_BYTES + 1]],
        vec![vec![b'x'; 100_000]; 12],
        vec![b"x".to_vec(); 200_000],
    ] {
        refuse(command(argv));
    }
    let zero = CommandRequest {
        time_limit: Some(Duration::ZERO),
        ..CommandRequest::new(["a"])
    };
    refuse(validate_command(&zero));
}

#[test]
fn working_directories_stay_out_of_the_kernels_file_systems() {
    for good in ["/workspace", "src", "./src/../lib", "/tmp", "/process", "..", "/"] {
        validate_cwd(good).unwrap();
    }
    for bad in [
        "",
        "a\0",
        "/proc",
        "/proc/self/fd/8",
        "//proc//1",
        "../proc/self",
        "/tmp/../sys",
        "/dev/fd",
    ] {
        refuse(validate_cwd(bad));
    }
}

#[test]
fn copies_name_a_path_without_steps_up() {
    for good in [".", "src", "/workspace/a b", "/tmp/x", "a..b"] {
        validate_copy_path(good).unwrap();
    }
    for bad in [
        "",
        "..",
        "a/..",
        "../x",
        "/workspace/../etc",
        "a\0",
        "/proc/1/environ",
        "/dev/zero",
        &"x".repeat(4096),
    ] {
        refuse(validate_copy_path(bad));
    }
}

#[test]
fn mounts_never_hide_what_a_session_needs() {
    for bad in [
        "/",
        "",
        "data",
        "/data/",
        "/a/../b",
        "/a//b",
        "/./a",
        "/a\0",
        "/proc",
        "/proc/1",
        "/sys/fs",
        "/dev/shm",
        "/opt",
        "/opt/cofferdam",
        "/opt/cofferdam/bin",
        "/run",
        "/run/cofferdam/link",
        "/workspace",
        "/home",
        "/home/agent",
        "/tmp",
    ] {
        refuse(validate_create(&CreateSession {
            mounts: vec![mount(bad)],
            ..create()
        }));
    }
    refuse(validate_create(&CreateSession {
        mounts: vec![mount("/data"), mount("/data")],
        ..create()
    }));
    refuse(validate_create(&CreateSession {
        mounts: (0..=MAX_MOUNTS).map(|n| mount(&format!("/m{n}"))).collect(),
        ..create()
    }));
}

#[test]
fn resources_have_a_floor_and_a_ceiling() {
    let good = ResourceLimits::default();
    for bad in [
        ResourceLimits {
            memory_bytes: 1,
            ..good
        },
        ResourceLimits {
            memory_bytes: u64::MAX,
            ..good
        },
        ResourceLimits {
            milli_cpus: 0,
            ..good
        },
        ResourceLimits { pids: 1, ..good },
        ResourceLimits {
            pids: u32::MAX,
            ..good
        },
    ] {
        let error = refuse(validate_create(&CreateSession {
            limits: Some(bad),
            ..create()
        }));
        assert!(error.hint().is_some());
    }
}

#[test]
fn tools_are_rules_and_not_options() {
    let tools = |tools: &[&str]| {
        let tools = tools.iter().map(|tool| (*tool).to_owned()).collect();
        validate_prompt_request(&PromptRequest {
            prompt: "x".into(),
            tools,
            ..PromptRequest::default()
        })
    };
    tools(&["Read", "Bash(git log *)", "mcp__gw__find"]).unwrap();
    for bad in ["", "--model", " Read", "Read\n", "Bash(\0)", &"x".repeat(513)] {
        refuse(tools(&["Read", bad]));
    }
    refuse(tools(&["Read"; 129]));
}

#[test]
fn i3_mcp_servers_carry_no_secret() {
    let config = |config| {
        validate_create(&CreateSession {
            mcp_config: Some(config),
            ..create()
        })
    };
    config(serde_json::json!({ "mcpServers": { "a": { "command": "x", "env": { "DEBUG": "1", "GITHUB_TOKEN": "" } } } })).unwrap();
    let token = format!("ghp_{}", "c".repeat(36));
    for bad in [
        serde_json::json!([]),
        serde_json::json!({ "servers": {} }),
        serde_json::json!({ "mcpServers": [] }),
        serde_json::json!({ "mcpServers": { "a": { "env": { "github_token": "canary" } } } }),
        serde_json::json!({ "mcpServers": { "a": { "headers": { "Authorization": format!("Bearer {token}") } } } }),
        serde_json::json!({ "mcpServers": { "a": { "args": [token] } } }),
        serde_json::json!({ "mcpServers": { "a": "x".repeat(100 << 10) } }),
    ] {
        let error = refuse(config(bad));
        assert!(!format!("{error:?}").contains("canary") && !format!("{error:?}").contains("ghp_"));
    }
}

#[test]
fn a_selection_of_mcp_servers_is_bounded_and_well_formed() {
    let select = |selection| {
        validate_create(&CreateSession {
            mcp: selection,
            ..create()
        })
    };
    let servers = |count: usize| McpSelection {
        servers: (0..count)
            .map(|number| format!("s{number}").parse().unwrap())
            .collect(),
        ..McpSelection::default()
    };
    let tools = |tools: &[&str]| McpSelection {
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        ..McpSelection::default()
    };
    select(servers(64)).unwrap();
    select(tools(&["git__log"; 256])).unwrap();
    select(tools(&["git__*", "my-docs__read.page/all", "a__b__c", "a___b"])).unwrap();
    select(McpSelection {
        none: true,
        tools: vec!["own__x".to_owned()],
        ..McpSelection::default()
    })
    .unwrap();
    refuse(select(servers(65)));
    refuse(select(tools(&["git__log"; 257])));
    for bad in [
        "",
        "git",
        "git__",
        "__log",
        "Git__log",
        "git__lo*",
        "git__a b",
        "git__log\n",
        "git__l\u{f6}g",
        &format!("git__{}", "x".repeat(124)),
    ] {
        refuse(select(tools(&["git__log", bad])));
    }
    for contradiction in [
        McpSelection {
            none: true,
            ..servers(1)
        },
        McpSelection {
            none: true,
            profile: Some("default".parse().unwrap()),
            ..McpSelection::default()
        },
    ] {
        refuse(select(contradiction));
    }
}

#[test]
fn prompts_say_something_and_fit() {
    validate_prompt("do it\0").unwrap();
    refuse(validate_prompt(" \n\t"));
    refuse(validate_prompt(&"x".repeat(MAX_PROMPT_BYTES + 1)));
    let request = PromptRequest {
        prompt: "x".into(),
        time_limit: Some(Duration::ZERO),
        ..PromptRequest::default()
    };
    refuse(validate_prompt_request(&request));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_a_check_panic(text in "[/.a-z=\\x00\\PC]{0,60}") {
        let _ = validate_cwd(&text);
        let _ = validate_copy_path(&text);
        let _ = validate_mount_target(&text);
        let _ = validate_prompt(&text);
        let _ = validate_env(&env(&text, &text));
        let _ = validate_command(&CommandRequest::new([text.clone().into_bytes()]));
        let _ = validate_create(&CreateSession { name: Some(text.clone()), model: Some(text), ..create() });
    }

    /// A target that is accepted is never within, above or at what a session needs, however it was spelled.
    #[test]
    fn accepted_targets_are_spelled_one_way(parts in prop::collection::vec("\\.|\\.\\.|proc|opt|cofferdam|data|", 0..5)) {
        let target = format!("/{}", parts.join("/"));
        if validate_mount_target(&target).is_ok() {
            prop_assert!(parts.iter().all(|part| !part.is_empty() && part != "." && part != ".."));
            prop_assert!(parts[0] != "proc" && !target.starts_with("/opt/cofferdam") && target != "/opt");
        }
    }
}
