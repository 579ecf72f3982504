//! How the program is started.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::*;
use crate::gateway::ModelApi;
use crate::session::PermissionMode;

pub(super) fn context() -> AgentContext {
    AgentContext {
        model_url: "http://127.0.0.1:9101".into(),
        token: SecretString::from("session-token"),
        model_api: ModelApi::Messages,
        model: None,
        small_model: None,
        permissions: PermissionMode::Bypass,
        mcp_url: None,
        allowed_tools: Vec::new(),
        env: BTreeMap::new(),
        resume: None,
    }
}

#[test]
fn the_program_is_started_for_a_sealed_session() {
    let launch = ClaudeCode.launch(&context());
    assert_eq!(
        launch.argv.join(" "),
        "/opt/cofferdam/bin/claude -p --input-format stream-json --output-format stream-json --verbose \
         --strict-mcp-config --dangerously-skip-permissions"
    );
    for (name, value) in [
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9101"),
        ("ANTHROPIC_API_KEY", "session-token"),
        ("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1"),
        ("HOME", "/home/agent"),
        ("CLAUDE_CONFIG_DIR", "/home/agent/.claude"),
        ("NO_PROXY", "127.0.0.1,localhost,::1"),
    ] {
        assert_eq!(launch.env.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!launch.argv.iter().any(|argument| argument.contains("token")));
}

#[test]
fn i3_the_mcp_endpoint_gets_the_session_s_token_by_the_environment_alone() {
    let with = |mcp_url: Option<&str>| {
        let env = [("COFFERDAM_MCP_TOKEN", "another"), ("MCP_TIMEOUT", "5000")];
        let env = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        ClaudeCode.launch(&AgentContext {
            mcp_url: mcp_url.map(str::to_owned),
            env,
            ..context()
        })
    };
    let launch = with(Some("http://127.0.0.1:9103/mcp"));
    let got = |name: &str| launch.env.get(name).map(String::as_str);
    assert_eq!(got("COFFERDAM_MCP_TOKEN"), Some("session-token"));
    assert_eq!(
        (got("MCP_TIMEOUT"), got("MCP_TOOL_TIMEOUT")),
        (Some("5000"), Some("86400000"))
    );
    assert!(
        !launch
            .argv
            .iter()
            .any(|argument| argument.contains("session-token"))
    );
    let without = with(None);
    for name in ["COFFERDAM_MCP_TOKEN", "MCP_TOOL_TIMEOUT"] {
        assert!(!without.env.contains_key(name), "{name}");
    }
    assert!(!without.argv.contains(&"--mcp-config".to_owned()));
}

/// The variables that lead the program to a provider.
fn provider_variables(model_api: ModelApi) -> Vec<(String, String)> {
    let launch = ClaudeCode.launch(&AgentContext {
        model_api,
        ..context()
    });
    let leads = |name: &str| {
        name.starts_with("ANTHROPIC_")
            || name.starts_with("AWS_")
            || name.starts_with("CLOUD_ML_")
            || name.starts_with("CLAUDE_CODE_USE_")
            || name.starts_with("CLAUDE_CODE_SKIP_")
    };
    launch
        .env
        .into_iter()
        .filter(|(name, _)| leads(name.as_str()))
        .collect()
}

#[test]
fn each_provider_s_api_is_spoken_to_the_gateway_with_the_session_s_token() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!(
        provider_variables(ModelApi::Messages),
        pairs(&[
            ("ANTHROPIC_API_KEY", "session-token"),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9101"),
        ])
    );
    assert_eq!(
        provider_variables(ModelApi::Bedrock {
            region: "eu-central-1".into()
        }),
        pairs(&[
            ("ANTHROPIC_BEDROCK_BASE_URL", "http://127.0.0.1:9101"),
            ("AWS_BEARER_TOKEN_BEDROCK", "session-token"),
            ("AWS_REGION", "eu-central-1"),
            ("CLAUDE_CODE_USE_BEDROCK", "1"),
        ])
    );
    assert_eq!(
        provider_variables(ModelApi::Vertex {
            region: "europe-west1".into(),
            project: "my-project".into()
        }),
        pairs(&[
            ("ANTHROPIC_CUSTOM_HEADERS", "x-api-key: session-token"),
            ("ANTHROPIC_VERTEX_BASE_URL", "http://127.0.0.1:9101/v1"),
            ("ANTHROPIC_VERTEX_PROJECT_ID", "my-project"),
            ("CLAUDE_CODE_SKIP_VERTEX_AUTH", "1"),
            ("CLAUDE_CODE_USE_VERTEX", "1"),
            ("CLOUD_ML_REGION", "europe-west1"),
        ])
    );
}

#[test]
fn the_session_s_environment_goes_before_the_model_for_small_tasks() {
    let name = "ANTHROPIC_SMALL_FAST_MODEL";
    let launched = |env| {
        let small_model = Some("small-1".to_owned());
        let context = AgentContext {
            small_model,
            env,
            ..context()
        };
        ClaudeCode.launch(&context).env[name].clone()
    };
    assert_eq!(launched(BTreeMap::new()), "small-1");
    let own = BTreeMap::from([(name.to_owned(), "small-2".to_owned())]);
    assert_eq!(launched(own), "small-2");
    assert!(!ClaudeCode.launch(&context()).env.contains_key(name));
}

#[test]
fn requests_become_arguments() {
    let launch = ClaudeCode.launch(&AgentContext {
        model: Some("claude-haiku-4-5".into()),
        mcp_url: Some("http://127.0.0.1:9103/mcp".into()),
        resume: Some("00000000-0000-4000-8000-000000000001".into()),
        ..context()
    });
    assert_eq!(
        launch.argv[9..],
        [
            "--mcp-config",
            "{\"mcpServers\":{\"gw\":{\"headers\":{\"Authorization\":\"Bearer ${COFFERDAM_MCP_TOKEN}\"},\
             \"type\":\"http\",\"url\":\"http://127.0.0.1:9103/mcp\"}}}",
            "--model",
            "claude-haiku-4-5",
            "--resume",
            "00000000-0000-4000-8000-000000000001"
        ]
    );
    let strict = AgentContext {
        permissions: PermissionMode::Strict,
        ..context()
    };
    let tools = ["Bash(git log *)", "Read", "Bash(ls)", "mcp__gw__git__*"]
        .map(str::to_owned)
        .to_vec();
    let listed = AgentContext {
        allowed_tools: tools,
        ..context()
    };
    assert_eq!(
        ClaudeCode.launch(&strict).argv[8..],
        ["--permission-mode", "dontAsk"]
    );
    assert_eq!(
        ClaudeCode.launch(&listed).argv[8..],
        [
            "--permission-mode",
            "dontAsk",
            "--tools",
            "Bash,Read",
            "--allowedTools",
            "Bash(git log *),Read,Bash(ls),mcp__gw__git__*"
        ]
    );
}

#[test]
fn i5_the_sessions_environment_cannot_reroute_the_agent() {
    let env = [
        ("RUST_LOG", "debug"),
        ("PATH", "/own/bin"),
        ("CLAUDE_CODE_MAX_RETRIES", "0"),
        ("ANTHROPIC_BASE_URL", "http://elsewhere"),
        ("ANTHROPIC_AUTH_TOKEN", "other"),
        ("CLAUDE_CODE_USE_BEDROCK", "1"),
        ("HOME", "/elsewhere"),
        ("NO_PROXY", "corp"),
    ];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let env = ClaudeCode.launch(&AgentContext { env, ..context() }).env;
    let got = |name: &str| env.get(name).map(String::as_str);
    assert_eq!(
        (got("RUST_LOG"), got("PATH"), got("CLAUDE_CODE_MAX_RETRIES")),
        (Some("debug"), Some("/own/bin"), Some("0"))
    );
    assert_eq!(
        (got("ANTHROPIC_BASE_URL"), got("HOME")),
        (Some("http://127.0.0.1:9101"), Some("/home/agent"))
    );
    assert_eq!(
        (got("ANTHROPIC_AUTH_TOKEN"), got("CLAUDE_CODE_USE_BEDROCK")),
        (None, None)
    );
    assert_eq!(got("NO_PROXY"), Some("corp,127.0.0.1,localhost,::1"));
}
