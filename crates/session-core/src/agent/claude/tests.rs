use std::collections::BTreeMap;

use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::agent::{MAX_LINE_BYTES, MAX_TOOL_RESULT_BYTES};
use crate::error::ErrorKind;
use crate::event::EventKind;
use crate::gateway::ModelApi;
use crate::session::PermissionMode;
use crate::turn::{TokenUsage, TurnFailureCause, TurnOutcome, TurnStatus};

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../../../testkit/fixtures/claude/", $name, ".jsonl"))
    };
}

fn parse_all(recording: &str) -> Vec<AgentSignal> {
    recording
        .lines()
        .flat_map(|line| ClaudeCode.parse(line.as_bytes()))
        .collect()
}

fn outcomes(recording: &str) -> Vec<TurnOutcome> {
    let ended = |signal| match signal {
        AgentSignal::TurnEnded(outcome) => Some(outcome),
        _ => None,
    };
    parse_all(recording).into_iter().filter_map(ended).collect()
}

fn events(recording: &str) -> Vec<EventKind> {
    let event = |signal| match signal {
        AgentSignal::Event(kind) => Some(kind),
        _ => None,
    };
    parse_all(recording).into_iter().filter_map(event).collect()
}

/// What an event is about, in a word or two.
fn brief(event: &EventKind) -> String {
    match event {
        EventKind::AgentReady { .. } => "ready".into(),
        EventKind::AgentText { text } => format!("text {}", text.chars().take(12).collect::<String>()),
        EventKind::AgentThinking { .. } => "thinking".into(),
        EventKind::ToolCall { tool, .. } => format!("call {tool}"),
        EventKind::ToolResult { is_error, .. } => format!("result {is_error}"),
        EventKind::ModelRetry { attempt, reason, .. } => format!("retry {attempt} {reason}"),
        EventKind::AgentOther { raw } => format!("other {}", raw["subtype"].as_str().unwrap_or("?")),
        other => format!("{other:?}"),
    }
}

fn briefs(recording: &str) -> Vec<String> {
    events(recording).iter().map(brief).collect()
}

#[test]
fn a_plain_turn_is_ready_text_and_an_outcome() {
    let signals = parse_all(recording!("text"));
    let AgentSignal::Ready {
        conversation: Some(conversation),
    } = &signals[0]
    else {
        panic!("{signals:?}");
    };
    assert_eq!(conversation, "00000000-0000-4000-8000-000000000001");
    assert!(matches!(
        &signals[1],
        AgentSignal::Event(EventKind::AgentReady { model: Some(model), tools }) if model == "claude-opus-5-5" && tools.len() > 9
    ));
    let outcome = &outcomes(recording!("text"))[0];
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Hello. This is a plain answer.")
    );
    assert_eq!(
        outcome.usage,
        TokenUsage {
            input: 100,
            output: 10,
            cache_read: 0,
            cache_creation: 0
        }
    );
    assert!(outcome.cost_usd.is_some_and(|cost| (cost - 0.0006).abs() < 1e-9));
    assert_eq!(
        (outcome.model_calls, outcome.duration_ms, &outcome.failure),
        (1, 109, &None)
    );
}

#[test]
fn tools_are_calls_and_results_in_order() {
    assert_eq!(
        briefs(recording!("tools")),
        [
            "ready",
            "thinking",
            "text I look at th",
            "call Bash",
            "call Read",
            "result true",
            "result false",
            "text A difference",
            "call Edit",
            "result false",
            "call Bash",
            "result false",
            "text Subtraction "
        ]
    );
    let calls: Vec<_> = events(recording!("tools"));
    let EventKind::ToolCall { id, input, .. } = &calls[3] else {
        panic!()
    };
    let EventKind::ToolResult {
        id: answered, text, ..
    } = &calls[5]
    else {
        panic!()
    };
    assert_eq!(
        (id, input["command"].as_str()),
        (answered, Some("python3 -m unittest 2>&1"))
    );
    assert!(text.starts_with("Exit code 1\n"));
}

#[test]
fn tokens_are_the_turns_and_the_cost_is_the_processs() {
    let turns = outcomes(recording!("second_prompt"));
    let costs: Vec<_> = turns.iter().map(|outcome| outcome.cost_usd.unwrap()).collect();
    assert!(
        (costs[0] - 0.0006).abs() < 1e-9 && (costs[1] - 0.0012).abs() < 1e-9,
        "{costs:?}"
    );
    assert!(turns.iter().all(|outcome| outcome.usage.input == 100));
    // A subagent's share, and what an interrupted turn spent, are in it.
    assert_eq!(outcomes(recording!("subagent"))[0].usage.input, 300);
    assert_eq!(outcomes(recording!("interrupt_model"))[0].usage.output, 16);
}

#[test]
fn partial_messages_are_left_out() {
    assert_eq!(
        briefs(recording!("partial")),
        [
            "ready",
            "thinking",
            "text Hello. This ",
            "call Bash",
            "result false",
            "text Hello again."
        ]
    );
}

#[test]
fn an_interrupt_is_taken_and_ends_the_turn() {
    for recording in [recording!("interrupt_model"), recording!("interrupt_command")] {
        let signals = parse_all(recording);
        assert_eq!(
            signals
                .iter()
                .filter(|signal| **signal == AgentSignal::Interrupted)
                .count(),
            1
        );
        let statuses: Vec<_> = outcomes(recording).iter().map(|outcome| outcome.status).collect();
        assert_eq!(statuses, [TurnStatus::Interrupted, TurnStatus::Succeeded]);
        assert!(
            outcomes(recording)
                .iter()
                .all(|outcome| outcome.failure.is_none())
        );
    }
    let idle = parse_all(recording!("interrupt_idle"));
    assert_eq!(idle.last(), Some(&AgentSignal::Interrupted));
}

#[test]
fn failures_of_the_model_are_told_apart_with_a_hint() {
    use TurnFailureCause::{
        AgentError, AgentLimit, ModelFailed, ModelOverloaded, ModelUnauthorized, ModelUnreachable,
    };
    for (name, recording, cause, retryable, says) in [
        ("400", recording!("error_400"), ModelFailed, false, "(400)"),
        (
            "401",
            recording!("error_401"),
            ModelUnauthorized,
            false,
            "Invalid API key",
        ),
        ("403", recording!("error_403"), ModelUnauthorized, false, "(403)"),
        (
            "404",
            recording!("error_404"),
            ModelFailed,
            false,
            "selected model",
        ),
        ("429", recording!("error_429"), ModelOverloaded, true, "(429)"),
        ("500", recording!("error_500"), ModelFailed, true, "(500)"),
        (
            "529",
            recording!("error_529"),
            ModelOverloaded,
            true,
            "Overloaded",
        ),
        (
            "event",
            recording!("error_event"),
            ModelOverloaded,
            true,
            "Overloaded",
        ),
        (
            "garbage",
            recording!("garbage"),
            ModelFailed,
            true,
            "malformed response",
        ),
        (
            "truncated",
            recording!("truncated"),
            ModelFailed,
            true,
            "Unterminated",
        ),
        (
            "closed",
            recording!("closed"),
            ModelUnreachable,
            true,
            "ECONNRESET",
        ),
        ("dropped", recording!("dropped"), ModelUnreachable, true, "lost"),
        ("hang", recording!("hang"), ModelUnreachable, true, "timed out"),
        (
            "hang midway",
            recording!("hang_midway"),
            ModelUnreachable,
            true,
            "timed out",
        ),
        ("refusal", recording!("refusal"), AgentError, false, "safeguards"),
        (
            "max tokens",
            recording!("max_tokens"),
            AgentLimit,
            false,
            "token maximum",
        ),
    ] {
        let outcome = outcomes(recording).remove(0);
        assert_eq!(
            (outcome.status, outcome.text.as_str()),
            (TurnStatus::Failed, ""),
            "{name}"
        );
        let failure = outcome.failure.unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            (failure.cause, failure.error.retryable),
            (cause, retryable),
            "{name}: {failure:?}"
        );
        assert!(
            failure.error.message.contains(says),
            "{name}: {}",
            failure.error.message
        );
        assert!(failure.error.hint.is_some(), "{name}");
        // The program's words about a failure are not the model's.
        let last = events(recording).last().map(brief).unwrap();
        assert!(
            !last.starts_with("text API") && !last.starts_with("text Invalid"),
            "{name}: {last}"
        );
    }
}

#[test]
fn retries_are_announced() {
    assert_eq!(
        briefs(recording!("error_529_once")),
        ["ready", "retry 1 529 overloaded", "text Hello."]
    );
    assert_eq!(
        briefs(recording!("error_401"))[1..],
        [
            "retry 1 401 authentication_failed",
            "retry 2 401 authentication_failed"
        ]
    );
    assert_eq!(briefs(recording!("closed"))[1], "retry 1 no answer (unknown)");
}

#[test]
fn denials_are_named() {
    assert_eq!(
        outcomes(recording!("permission_denied"))[0].permission_denials,
        ["Bash"]
    );
}

#[test]
fn a_question_names_the_tool_and_its_call() {
    let events = events(recording!("permission_allowed"));
    let called = events.iter().find_map(|event| match event {
        EventKind::ToolCall { id, .. } => Some(id.clone()),
        _ => None,
    });
    let asked = events.iter().find_map(|event| match event {
        EventKind::PermissionAsked { call, tool } => Some((call.clone(), tool.as_str())),
        _ => None,
    });
    assert_eq!(asked, called.map(|call| (call, "Bash")));
    let other = br#"{"type":"control_request","request_id":"x","request":{"subtype":"something_new"}}"#;
    assert!(matches!(
        ClaudeCode.parse(other).as_slice(),
        [AgentSignal::Event(EventKind::AgentOther { .. })]
    ));
}

#[test]
fn every_recorded_turn_ends_once_per_result() {
    for recording in [
        recording!("control"),
        recording!("queued_prompts"),
        recording!("repeated_uuid"),
        recording!("unknown_type"),
        recording!("input_closed_midway"),
        recording!("permission_allowed"),
    ] {
        let results = recording
            .lines()
            .filter(|line| line.contains("\"type\":\"result\""))
            .count();
        assert_eq!(outcomes(recording).len(), results);
        assert!(
            outcomes(recording)
                .iter()
                .all(|outcome| outcome.status == TurnStatus::Succeeded)
        );
    }
}

#[test]
fn what_is_not_known_is_kept_and_bounded() {
    let only = |line: &[u8]| match ClaudeCode.parse(line).as_slice() {
        [AgentSignal::Event(EventKind::AgentOther { raw })] => raw.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        only(br#"{"type":"from_the_future","x":1}"#),
        json!({ "type": "from_the_future", "x": 1 })
    );
    assert_eq!(only(b"no json"), json!("no json"));
    assert_eq!(only(b"\xff\xfe"), json!("\u{fffd}\u{fffd}"));
    assert_eq!(only(br#"{"type":5}"#), json!({ "type": 5 }));
    assert_eq!(only(br#"{"type":"assistant"}"#), json!({ "type": "assistant" }));
    let long = format!("{{\"type\":\"x\",\"y\":\"{}\"}}", "é".repeat(MAX_LINE_BYTES / 4));
    assert!(matches!(only(long.as_bytes()), Value::String(text) if text.len() <= MAX_TOOL_RESULT_BYTES));
    let deep = "[".repeat(100_000);
    assert!(matches!(only(deep.as_bytes()), Value::String(text) if text.len() <= MAX_TOOL_RESULT_BYTES));
}

fn outcome_of(line: &[u8]) -> TurnOutcome {
    match ClaudeCode.parse(line).as_slice() {
        [AgentSignal::TurnEnded(outcome)] => outcome.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_result_with_fields_of_the_wrong_type_still_ends_the_turn() {
    let line = br#"{"type":"result","subtype":"success","is_error":"no","result":["x"],"usage":7,"num_turns":-1,
        "duration_ms":1e400,"total_cost_usd":{},"permission_denials":{"a":1},"model_usage_since_last_result":[]}"#;
    let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\n').collect();
    let outcome = outcome_of(&line);
    assert_eq!(
        (outcome.status, outcome.text.as_str(), outcome.cost_usd),
        (TurnStatus::Succeeded, "", None)
    );
    let huge = br#"{"type":"result","subtype":"success","total_cost_usd":-1,"model_usage_since_last_result":{"a":{"inputTokens":18446744073709551615},"b":{"inputTokens":9}}}"#;
    let outcome = outcome_of(huge);
    assert_eq!((outcome.usage.input, outcome.cost_usd), (u64::MAX, None));
}

#[test]
fn results_of_tools_are_cut_between_characters() {
    let result = |content: Value| {
        let line = json!({
            "type": "user",
            "message": { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": content }] },
        });
        match ClaudeCode.parse(line.to_string().as_bytes()).remove(0) {
            AgentSignal::Event(EventKind::ToolResult { text, .. }) => text,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        result(json!("€".repeat(10_000))),
        "€".repeat(MAX_TOOL_RESULT_BYTES / 3)
    );
    assert_eq!(
        result(json!([{ "type": "text", "text": "a" }, { "type": "image" }, 7])),
        "a\n[image]"
    );
    assert!(result(json!([{ "type": "text", "text": "x".repeat(99_999) }])).len() == MAX_TOOL_RESULT_BYTES);
    assert_eq!(result(json!(null)), "");
}

fn context() -> AgentContext {
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

#[test]
fn an_interrupt_is_one_line() {
    let bytes = ClaudeCode.interrupt(7);
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        value,
        json!({ "type": "control_request", "request_id": "interrupt-7", "request": { "subtype": "interrupt" } })
    );
    assert!(bytes.ends_with(b"\n"));
}

#[test]
fn failures_carry_codes_that_callers_know() {
    let failure = outcomes(recording!("max_tokens")).remove(0).failure.unwrap();
    assert_eq!(failure.error.code, ErrorKind::LimitExceeded);
}

/// A line that may be one of ours, with anything in it.
fn likely_line() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("1e999".into()),
        Just("-1".into()),
        Just("[]".into()),
        Just("{}".into()),
        Just("[{\"type\":\"tool_result\",\"content\":[{\"type\":\"text\",\"text\":\"é\"},3]}]".into()),
        Just("{\"content\":[{\"type\":\"text\",\"text\":7},{\"type\":\"tool_use\",\"input\":[]}]}".into()),
        "\"[a-z\\PC]{0,9}\"".prop_map(|text| text.replace('\\', "")),
    ];
    let kinds = prop::sample::select(vec![
        "assistant",
        "user",
        "result",
        "system",
        "control_response",
        "conversation_reset",
    ]);
    let keys = prop::sample::select(vec![
        "message",
        "subtype",
        "usage",
        "result",
        "response",
        "errors",
        "session_id",
        "model_usage_since_last_result",
        "permission_denials",
        "attempt",
        "tools",
        "is_error",
        "terminal_reason",
        "api_error_status",
    ]);
    (
        kinds,
        prop::collection::btree_map(keys, value, 0..6),
        prop::sample::select(vec!["init", "api_retry", "success", ""]),
    )
        .prop_map(|(kind, fields, subtype)| {
            let fields: String = fields
                .iter()
                .map(|(key, value)| format!(",\"{key}\":{value}"))
                .collect();
            format!("{{\"type\":\"{kind}\",\"subtype\":\"{subtype}\"{fields}}}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_makes_it_panic_or_vanish(bytes in prop::collection::vec(any::<u8>(), 0..200), line in likely_line()) {
        // What is no line of ours is kept.
        if serde_json::from_slice::<Value>(&bytes).is_err() {
            prop_assert_eq!(ClaudeCode.parse(&bytes).len(), 1);
        }
        let signals = ClaudeCode.parse(line.as_bytes());
        if line.contains("\"type\":\"result\"") && serde_json::from_str::<Value>(&line).is_ok() {
            prop_assert!(signals.iter().any(|signal| matches!(signal, AgentSignal::TurnEnded(_))) || line.matches("\"subtype\"").count() > 1);
        }
        for signal in signals {
            if let AgentSignal::TurnEnded(outcome) = signal {
                prop_assert_eq!(outcome.status == TurnStatus::Failed, outcome.failure.is_some());
                serde_json::to_string(&outcome).unwrap();
            }
        }
    }

    #[test]
    fn damaged_recordings_never_make_it_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = recording!("tools").as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        for line in bytes.split(|byte| *byte == b'\n') {
            let _ = ClaudeCode.parse(line);
        }
    }

    #[test]
    fn any_prompt_is_one_line_that_says_it(text in any::<String>(), odd in "[\\r\\n\\x00\"\\\\\u{2028}\u{2029}\u{85}]{0,5}") {
        let text = text + &odd;
        let turn = TurnId::new();
        let bytes = ClaudeCode.prompt(&turn, &text);
        let line = std::str::from_utf8(&bytes).unwrap().strip_suffix('\n').unwrap();
        let ends = ['\n', '\r', '\u{2028}', '\u{2029}'];
        prop_assert!(!line.contains(ends));
        let value: Value = serde_json::from_str(line).unwrap();
        prop_assert_eq!(value["message"]["content"][0]["text"].as_str(), Some(text.as_str()));
        let turn = turn.to_string();
        prop_assert_eq!(value["uuid"].as_str(), Some(turn.as_str()));
    }
}

#[test]
fn a_conversation_that_cannot_be_resumed_is_told_and_ends_no_turn() {
    let line = br#"{"type":"result","subtype":"error_during_execution","is_error":true,"num_turns":0,"errors":["No conversation found with session ID: 123e4567-e89b-42d3-a456-426614174000"]}"#;
    assert_eq!(ClaudeCode.parse(line), [AgentSignal::ConversationLost]);
}
