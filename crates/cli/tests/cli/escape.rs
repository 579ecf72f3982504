//! Nothing that comes out of a session steers the terminal of who looks at it.

use serde_json::json;
use session_core::activity::Activity;
use session_core::egress::DenialReason;
use session_core::error::{Error, ErrorKind};
use session_core::event::EventKind;
use session_core::session::{ChangedFile, WorkspaceDiff};
use session_core::state::SessionState;
use session_core::turn::{TurnFailure, TurnFailureCause, TurnStatus};

use crate::support::User;
use crate::support::fake::{Fake, Step};
use crate::support::{Outcome, fixtures};

/// Sets the title, moves up, deletes, writes the clipboard, rings, reorders.
const EVIL: &str = "\x1b]0;title\x07\x1b[2A\x1b[2K\x1b]52;c;ZXZpbA==\x07\u{9b}31m\u{202e}\r\x08evil";

fn evil() -> Vec<EventKind> {
    let text = || EVIL.to_owned();
    let report = || {
        Error::new(ErrorKind::AgentFailed, "work", EVIL)
            .with_hint(EVIL)
            .report()
    };
    let mut failed = fixtures::outcome(TurnStatus::Failed);
    failed.text = text();
    failed.permission_denials = vec![text()];
    failed.failure = Some(TurnFailure {
        cause: TurnFailureCause::AgentError,
        error: report(),
    });
    vec![
        EventKind::TurnQueued { prompt: text() },
        EventKind::AgentReady {
            model: Some(text()),
            tools: vec![text()],
        },
        EventKind::AgentText { text: text() },
        EventKind::AgentThinking { text: text() },
        EventKind::AgentStderr { text: text() },
        EventKind::AgentOther {
            raw: json!({EVIL: EVIL}),
        },
        EventKind::ToolCall {
            id: text(),
            tool: text(),
            input: json!({"command": EVIL}),
        },
        EventKind::ToolResult {
            id: text(),
            is_error: true,
            text: text(),
        },
        EventKind::ModelRetry {
            attempt: 1,
            delay_ms: 1,
            reason: text(),
        },
        EventKind::AgentExited { cause: text() },
        EventKind::CommandStarted {
            command: fixtures::command_id(),
            argv: vec![text()],
        },
        EventKind::FilesCopied {
            inward: true,
            path: text(),
            bytes: 1,
            entries: 1,
        },
        EventKind::EgressAllowed {
            host: text(),
            port: 1,
            rule: text(),
        },
        EventKind::EgressDenied {
            host: text(),
            port: 1,
            reason: DenialReason::NotAllowed,
        },
        EventKind::PermissionAsked {
            call: text(),
            tool: text(),
        },
        EventKind::ProviderChanged { to: text() },
        EventKind::Progress { message: text() },
        EventKind::Problem { error: report() },
        EventKind::StateChanged {
            to: SessionState::Failed { cause: text() },
        },
        EventKind::TurnFinished { outcome: failed },
    ]
}

fn evil_fake() -> Fake {
    let mut fake = Fake::new();
    fake.turn = evil().into_iter().map(Step::Event).collect();
    fake.stored = (1..)
        .zip(evil())
        .map(|(seq, kind)| fixtures::event(fixtures::session_id('f'), seq, None, kind))
        .collect();
    fake.diff = WorkspaceDiff {
        patch: format!("diff --git a/x b/x\n+{EVIL}\n"),
        files: vec![ChangedFile {
            status: '\u{1b}',
            path: EVIL.to_owned(),
        }],
        truncated: false,
    };
    fake.sessions[0] = fixtures::session('f', Some("fix-it"), json!({"state": "failed", "cause": EVIL}));
    fake.activity = Some(Activity::ToolRunning {
        tool: EVIL.to_owned(),
        for_ms: 1,
    });
    fake.sessions[0].labels.insert(EVIL.to_owned(), EVIL.to_owned());
    fake
}

fn assert_harmless(outcome: &Outcome, what: &str) {
    for (stream, text) in [("stdout", outcome.stdout()), ("stderr", outcome.stderr())] {
        let bad = text
            .chars()
            .find(|c| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}'));
        assert_eq!(bad, None, "{what}, {stream}: {text:?}");
    }
}

#[tokio::test]
async fn texts_from_sessions_are_escaped() {
    for line in [
        "-v prompt fix-it go",
        "-v run --mount go",
        "-v logs fix-it",
        "diff fix-it",
        "diff --name-status fix-it",
        "inspect fix-it",
        "egress log fix-it",
        "egress log",
        "ls -a",
        "inspect \x1b[2J\u{202e}evil",
        "help \x1b[2Jevil",
    ] {
        let user = User::new(evil_fake()).on_a_terminal();
        let outcome = user.runs(line).await;
        assert_harmless(&outcome, line);
    }
}

#[tokio::test]
async fn json_escapes_them_by_its_own_rules() {
    let user = User::new(evil_fake());
    for line in [
        "prompt --json fix-it go",
        "logs --json fix-it",
        "diff --json fix-it",
    ] {
        let outcome = user.runs(line).await;
        assert!(!outcome.stdout().contains('\x1b'), "{line}");
        outcome.lines();
    }
}

#[tokio::test]
async fn the_key_is_shown_nowhere() {
    let user = User::new(Fake::working());
    for line in [
        "-vv run go",
        "doctor",
        "inspect fix-it",
        "--json create",
        "-v prompt --api-key-env NOTHING fix-it go",
    ] {
        let outcome = user.runs(line).await;
        let both = format!("{}{}", outcome.stdout(), outcome.stderr());
        assert!(!both.contains("canary"), "{line}: {both}");
    }
}
