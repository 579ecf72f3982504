//! A scripted lifecycle API: it answers what a test put in, remembers what it was asked, and nothing more.

mod api;
mod play;
mod terminals;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use cli::interrupts::Interrupt;
use session_core::activity::Activity;
use session_core::audit::AuditLine;
use session_core::budget::Spent;
use session_core::checkpoint::Checkpoint;
use session_core::egress::{EgressDecision, EgressRequest};
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::Event;
use session_core::garbage::GarbageReport;
use session_core::id::SessionId;
use session_core::mcp::McpStatus;
use session_core::session::{CreateSession, SessionInfo, WorkspaceDiff};
use session_core::store::Quarantined;
use session_core::turn::{TurnInfo, TurnStatus};
use tokio::sync::{broadcast, watch};

use self::play::Steered;
pub(crate) use self::play::Step;
use self::terminals::Terminals;
use super::fixtures;

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// Whether a patch breaks off.
    pub(crate) breaks_off: bool,
    /// What `restore` gives; the first session when `None`.
    pub(crate) restored: Option<SessionInfo>,
    pub(crate) garbage: GarbageReport,
    pub(crate) audit: Vec<AuditLine>,
    pub(crate) broken_at: Option<u64>,
    pub(crate) quarantined: Vec<Quarantined>,
}

pub(crate) struct Fake {
    pub(crate) sessions: Vec<SessionInfo>,
    pub(crate) stored: Vec<Event>,
    pub(crate) turn: Vec<Step>,
    pub(crate) command: Vec<Step>,
    pub(crate) diff: WorkspaceDiff,
    /// Archives by the path inside.
    pub(crate) files: HashMap<String, Vec<u8>>,
    pub(crate) waiting_hosts: Vec<EgressRequest>,
    pub(crate) decisions: Vec<EgressDecision>,
    pub(crate) spent: Spent,
    /// What its agent is doing; it hangs then.
    pub(crate) activity: Option<Activity>,
    /// How MCP servers are.
    pub(crate) servers: Option<McpStatus>,
    /// What was kept, and what is known of the past.
    pub(crate) kept: Kept,
    created: Mutex<Vec<CreateSession>>,
    failures: HashMap<&'static str, ErrorKind>,
    calls: Mutex<Vec<String>>,
    received: Mutex<Vec<u8>>,
    signals: broadcast::Sender<Interrupt>,
    interrupted: watch::Sender<bool>,
    steered: Arc<Steered>,
    terminals: Terminals,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            sessions: vec![fixtures::ready('f', Some("fix-it"))],
            stored: Vec::new(),
            turn: Vec::new(),
            command: Vec::new(),
            diff: WorkspaceDiff {
                patch: String::new(),
                files: Vec::new(),
                truncated: false,
            },
            files: HashMap::new(),
            waiting_hosts: Vec::new(),
            decisions: Vec::new(),
            spent: Spent::default(),
            activity: None,
            servers: None,
            kept: Kept::default(),
            created: Mutex::default(),
            failures: HashMap::new(),
            calls: Mutex::default(),
            received: Mutex::default(),
            signals: broadcast::channel(16).0,
            interrupted: watch::Sender::new(false),
            steered: Arc::default(),
            terminals: Terminals::default(),
        }
    }

    /// A turn that does what [`fixtures::work`] says and ends well.
    pub(crate) fn working() -> Self {
        let mut fake = Self::new();
        fake.turn = fixtures::work().into_iter().map(Step::Event).collect();
        fake.turn
            .push(Step::End(fixtures::outcome(TurnStatus::Succeeded)));
        fake.diff = fixtures::diff();
        fake
    }

    pub(crate) fn commanding(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut fake = Self::new();
        fake.command = steps.into_iter().collect();
        fake
    }

    pub(crate) fn failing(mut self, call: &'static str, kind: ErrorKind) -> Self {
        self.failures.insert(call, kind);
        self
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// What sessions were asked for.
    pub(crate) fn created(&self) -> Vec<CreateSession> {
        self.created.lock().unwrap().clone()
    }

    /// The archive that a copy brought in.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }

    /// What a command read.
    pub(crate) fn input(&self) -> Vec<u8> {
        self.steered.input.lock().unwrap().clone()
    }

    /// The signals that a command got.
    pub(crate) fn signalled(&self) -> Vec<i32> {
        self.steered.signals.borrow().clone()
    }

    pub(crate) fn signals(&self) -> broadcast::Sender<Interrupt> {
        self.signals.clone()
    }

    pub(crate) fn fail(&self, call: &'static str) -> Result<()> {
        match self.failures.get(call) {
            None => Ok(()),
            Some(kind) => Err(Error::new(*kind, "do what was asked", "the script says so")
                .with_context("call", call)
                .with_hint("change the script")
                .with_source(std::io::Error::other("a cause inside"))),
        }
    }

    fn called(&self, call: &'static str, detail: impl std::fmt::Display) -> Result<()> {
        self.calls
            .lock()
            .unwrap()
            .push(format!("{call} {detail}").trim().to_owned());
        self.fail(call)
    }

    fn turn_info(&self, session: SessionId, prompt: String) -> TurnInfo {
        serde_json::from_value(serde_json::json!({
            "id": fixtures::turn_id(),
            "session": session,
            "status": "queued",
            "prompt": prompt,
            "first_event": 1,
            "created_at": fixtures::start(),
        }))
        .unwrap()
    }
}
