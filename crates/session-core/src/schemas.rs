//! The schemas of what callers see are true: what serde writes fits them, and what it would not write does not.
//!
//! A fuzzer checks every answer of the HTTP API against them later; here a few samples of each kind show at once what
//! a derive has misunderstood. The judge below knows the words of JSON Schema that ours are written with, no others.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{ComponentsBuilder, OpenApiBuilder};

use crate::command::{CommandExit, ExitCause};
use crate::egress::{DecideEgress, EgressDecision, EgressRequest};
use crate::event::{Event, EventKind};
use crate::mcp::{McpSelection, McpStatus, ServerState, ServerStatus};
use crate::runtime::{Capability, RuntimeHealth};
use crate::session::{CopyReport, SessionDetails, SessionInfo, WorkspaceDiff};
use crate::state::{InterruptCause, SessionState};
use crate::terminal::{TerminalInfo, TerminalProgram, TerminalSize};
use crate::turn::{TurnInfo, TurnOutcome};

const ID: &str = "6f1c24a5-6f0f-4b13-9b8e-3c2f9d1f0a11";
const AT: &str = "2026-02-03T04:05:06.789Z";

/// A schema and those that it refers to.
struct Described {
    own: Value,
    all: Value,
}

impl Described {
    fn of<T: ToSchema>() -> Self {
        let mut needed = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut needed);
        let components = ComponentsBuilder::new().schemas_from_iter(needed).build();
        let document = OpenApiBuilder::new().components(Some(components)).build();
        let all = serde_json::to_value(document).unwrap()["components"]["schemas"].take();
        let own = all[T::name().as_ref()].clone();
        Self { own, all }
    }

    fn takes(&self, value: &Value) -> bool {
        self.fits(&self.own, value)
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let each = |word: &str| schema[word].as_array().cloned().unwrap_or_default();
        let fitting = |word: &str| {
            let parts = each(word);
            parts.iter().filter(|part| self.fits(part, value)).count()
        };
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/components/schemas/");
            assert!(self.all[name].is_object(), "{name} is not described");
            return self.fits(&self.all[name], value);
        }
        fitting("allOf") == each("allOf").len()
            && (schema["anyOf"].is_null() || fitting("anyOf") > 0)
            && (schema["oneOf"].is_null() || fitting("oneOf") == 1)
            && (schema["enum"].is_null() || each("enum").contains(value))
            && is_of_type(&schema["type"], value)
            && is_in_range(schema, value)
            && self.members_fit(schema, value)
            && value.as_array().is_none_or(|items| {
                schema["items"].is_null() || items.iter().all(|item| self.fits(&schema["items"], item))
            })
    }

    fn members_fit(&self, schema: &Value, value: &Value) -> bool {
        let Some(members) = value.as_object() else {
            return true;
        };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let others = &schema["additionalProperties"];
        required
            .iter()
            .all(|name| members.contains_key(name.as_str().unwrap()))
            && members
                .iter()
                .all(|(name, member)| match &schema["properties"][name] {
                    Value::Null => {
                        others != &json!(false) && (!others.is_object() || self.fits(others, member))
                    }
                    known => self.fits(known, member),
                })
    }
}

fn is_of_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => unreachable!("a type that JSON does not have: {other}"),
    };
    match wanted {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

fn is_in_range(schema: &Value, value: &Value) -> bool {
    let Some(number) = value.as_f64() else { return true };
    schema["minimum"].as_f64().is_none_or(|least| least <= number)
        && schema["maximum"].as_f64().is_none_or(|most| number <= most)
}

/// `samples` are read as `T`; what serde writes of them fits, as they do themselves; without any one of `needed` they do
/// not fit.
fn holds<T>(samples: impl IntoIterator<Item = Value>, needed: &[&str])
where
    T: ToSchema + serde::Serialize + serde::de::DeserializeOwned,
{
    let described = Described::of::<T>();
    for sample in samples {
        let read: T = serde_json::from_value(sample.clone())
            .unwrap_or_else(|error| panic!("{}: {error}: {sample}", T::name()));
        let written = serde_json::to_value(&read).unwrap();
        for value in [&sample, &written] {
            assert!(described.takes(value), "{}: {value}", T::name());
        }
        for name in needed {
            let mut without = written.clone();
            without.as_object_mut().unwrap().remove(*name).unwrap();
            assert!(!described.takes(&without), "{} without {name}", T::name());
        }
    }
}

fn session() -> Value {
    json!({
        "id": ID, "state": "ready", "created_at": AT, "updated_at": AT, "image": "debian:12", "network": "sealed",
        "limits": {"memory_bytes": 4_294_967_296_u64, "milli_cpus": 2000, "pids": 1024},
        "workspace": {"kind": "empty"}, "user": {"uid": 1000, "gid": 1000}, "agent": "claude",
        "turns": 0, "last_event": 2, "cost_usd": 0.0
    })
}

fn with(mut base: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        unreachable!("only objects have members")
    };
    base.as_object_mut().unwrap().extend(more);
    base
}

fn full_session() -> Value {
    with(
        session(),
        json!({
            "name": "n", "state": "interrupted", "cause": "out_of_memory",
            "workspace": {"kind": "clone", "url": "https://example.com/a.git", "reference": "main"},
            "mounts": [{"source": "/srv", "target": "/data", "read_only": true}], "model": "m", "small_model": "s",
            "allow": ["npm", "*.example.com:8443"], "budget": {"tokens": 5}, "permissions": "strict",
            "mcp_config": {"mcpServers": {}}, "mcp": {"servers": ["git"], "configuration": "sha256:0"},
            "certificates": true, "env": {"A": "b"}, "labels": {"k": "v"}, "owner": "ci", "cost_usd": 1.5
        }),
    )
}

fn outcome() -> Value {
    json!({
        "status": "failed", "text": "", "usage": {"input": 1, "output": 2, "cache_read": 3, "cache_creation": 4},
        "cost_usd": null, "model_calls": 1, "duration_ms": 5, "permission_denials": ["Bash"],
        "failure": {"cause": "timed_out", "code": "limit_exceeded", "message": "m", "hint": "h", "retryable": false}
    })
}

#[test]
fn schemas_of_sessions_are_true() {
    holds::<SessionInfo>(
        [
            session(),
            full_session(),
            with(session(), json!({"state": "failed", "cause": "no image"})),
        ],
        &[
            "id",
            "state",
            "created_at",
            "image",
            "limits",
            "workspace",
            "user",
            "turns",
            "last_event",
            "cost_usd",
        ],
    );
    let usage = json!({"requests": 1, "input_tokens": 2, "output_tokens": 3, "cache_read_tokens": 4, "cache_creation_tokens": 5});
    let details = json!({
        "container": "cofferdam-x", "carrier": "socket", "model_usage": usage, "stall": "tool_running",
        "resources": {"memory_bytes": 1, "cpu_ms": 2, "pids": 3, "oom_kills": 0, "uptime_ms": 4},
        "activity": {"kind": "tool_running", "tool": "Bash", "for_ms": 4},
        "mcp_status": {"servers": [{"name": "git", "state": "gave_up"}], "drifted": true}
    });
    holds::<SessionDetails>(
        [with(full_session(), details)],
        &["id", "state", "container", "model_usage"],
    );
}

#[test]
fn schemas_refuse_what_is_never_answered() {
    let sessions = Described::of::<SessionInfo>();
    for wrong in [
        json!({"state": "asleep"}),
        json!({"state": "failed"}),
        json!({"id": 1}),
        json!({"network": "half"}),
        json!({"limits": {"memory_bytes": 1, "milli_cpus": 2000, "pids": 1024}}),
        json!({"budget": {"tokens": 0}}),
        json!({"budget": {"beer": 1}}),
        json!({"labels": {"k": 1}}),
    ] {
        assert!(!sessions.takes(&with(session(), wrong.clone())), "{wrong}");
    }
    let size = Described::of::<TerminalSize>();
    assert!(!size.takes(&json!({"rows": 0, "columns": 80})));
    assert!(!size.takes(&json!({"rows": 24, "columns": 1001})));
}

#[test]
fn schemas_of_turns_are_true() {
    let turn = json!({"id": ID, "session": ID, "status": "queued", "prompt": "p", "first_event": 3, "created_at": AT});
    let ended = json!({"status": "failed", "tools": ["Read"], "time_limit_ms": 1000, "outcome": outcome()});
    holds::<TurnInfo>(
        [turn.clone(), with(turn, ended)],
        &["id", "session", "status", "prompt", "created_at"],
    );
    holds::<TurnOutcome>(
        [outcome()],
        &["status", "text", "usage", "model_calls", "duration_ms"],
    );
}

#[test]
fn schemas_of_events_are_true() {
    let event = |kind: &EventKind| {
        let head = json!({"session": ID, "seq": 1, "at": AT, "turn": ID});
        with(head, serde_json::to_value(kind).unwrap())
    };
    let status = ServerStatus {
        name: "git".parse().unwrap(),
        state: ServerState::Failed,
        reason: Some("r".into()),
        failures: 1,
        retry_in_ms: Some(5),
        held: vec!["t".into()],
        tools: Some(3),
    };
    let cause = InterruptCause::ContainerExited;
    let kinds = [
        EventKind::StateChanged {
            to: SessionState::Interrupted { cause },
        },
        EventKind::StateChanged {
            to: SessionState::Busy,
        },
        EventKind::TurnStarted,
        EventKind::TurnFinished {
            outcome: serde_json::from_value(outcome()).unwrap(),
        },
        EventKind::ToolCall {
            id: "i".into(),
            tool: "Bash".into(),
            input: json!([1, "a"]),
        },
        EventKind::CommandFinished {
            command: ID.parse().unwrap(),
            code: None,
            signal: Some(9),
            cause: ExitCause::OutOfMemory,
        },
        EventKind::EgressDecided {
            rule: "a.example.com".parse().unwrap(),
            allow: true,
            for_all: false,
        },
        EventKind::McpServer { status },
    ];
    holds::<Event>(kinds.iter().map(event), &["session", "seq", "at", "event"]);
    let unknown = json!({"session": ID, "seq": 1, "at": AT, "event": "full_moon"});
    assert!(!Described::of::<Event>().takes(&unknown));
}

#[test]
fn schemas_of_the_rest_are_true() {
    let decision = json!({"rule": "*.example.com", "allow": true});
    holds::<DecideEgress>(
        [decision.clone(), with(decision.clone(), json!({"session": ID}))],
        &["rule", "allow"],
    );
    assert!(!Described::of::<DecideEgress>().takes(&with(decision.clone(), json!({"sesion": ID}))));
    holds::<EgressDecision>([with(decision, json!({"at": AT}))], &["at"]);
    let request = json!({"session": ID, "host": "a.example.com", "port": 443, "rule": "a.example.com:443",
        "first_at": AT, "last_at": AT, "times": 2});
    holds::<EgressRequest>([request], &["session", "host", "port", "rule", "times"]);
    let diff = json!({"patch": "", "files": [{"status": "M", "path": "a"}], "truncated": false});
    holds::<WorkspaceDiff>([diff], &["patch", "files", "truncated"]);
    holds::<CopyReport>([json!({"entries": 1, "bytes": 2})], &["entries", "bytes"]);
    holds::<CommandExit>(
        [json!({"cause": "exited", "code": 0, "signal": null, "duration_ms": 1, "output_bytes": 0})],
        &["cause", "duration_ms", "output_bytes"],
    );
    holds::<McpSelection>(
        [
            json!({}),
            json!({"profile": "web", "servers": ["git"], "none": false}),
        ],
        &[],
    );
    holds::<McpStatus>([json!({"servers": [], "drifted": false})], &["servers"]);
    let size = json!({"rows": 24, "columns": 80});
    for program in [
        json!({"kind": "shell"}),
        json!({"kind": "agent"}),
        json!({"kind": "command", "argv": ["top"]}),
    ] {
        holds::<TerminalProgram>([program.clone()], &["kind"]);
        let terminal =
            json!({"id": ID, "session": ID, "program": program, "size": size, "viewers": 0, "opened_at": AT});
        holds::<TerminalInfo>(
            [terminal],
            &["id", "session", "program", "size", "viewers", "opened_at"],
        );
    }
    holds::<Capability>(
        [json!({"host_mounts": true, "pause": true, "open_network": true, "pull": true})],
        &["pull"],
    );
    holds::<RuntimeHealth>(
        [json!({"version": "1", "findings": []})],
        &["version", "findings"],
    );
}
