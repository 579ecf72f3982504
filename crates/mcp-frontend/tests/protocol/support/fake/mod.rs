//! A lifecycle API without containers: it keeps what it is told, plays scripts and fails when asked to.

mod api;
mod play;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use session_core::activity::Activity;
use session_core::budget::Spent;
use session_core::checkpoint::Checkpoint;
use session_core::command::{CommandEvent, CommandRequest};
use session_core::egress::{EgressRequest, HostRule};
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::{Event, EventKind};
use session_core::id::{CommandId, SessionId, TurnId};
use session_core::mcp::{McpPlan, McpStatus};
use session_core::runtime::UserIds;
use session_core::session::{CreateSession, PromptRequest, SessionInfo};
use session_core::state::{Operation, SessionState};
use session_core::turn::TurnInfo;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::script::{Act, Step};

/// See the module.
pub(crate) struct Fake {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<SessionId, Session>,
    calls: Vec<String>,
    failures: HashMap<&'static str, VecDeque<Error>>,
    acts: VecDeque<Vec<Act>>,
    steps: VecDeque<Vec<Step>>,
    created: Vec<CreateSession>,
    prompts: Vec<PromptRequest>,
    commands: Vec<CommandRequest>,
    delay: HashMap<&'static str, Duration>,
    files: BTreeMap<String, Vec<u8>>,
    patch: String,
    waiting: Vec<EgressRequest>,
    spent: Spent,
    activity: Option<Activity>,
    servers: McpStatus,
    checkpoints: Vec<Checkpoint>,
}

struct Session {
    info: SessionInfo,
    key: Option<String>,
    events: Vec<Event>,
    turns: Vec<TurnInfo>,
    turn_keys: HashMap<String, TurnId>,
    command_keys: HashMap<String, CommandId>,
    interrupt: CancellationToken,
    /// Those of single turns.
    interrupts: HashMap<TurnId, CancellationToken>,
    running: HashMap<CommandId, Command>,
}

#[derive(Clone)]
struct Command {
    /// Everything it did so far.
    done: watch::Sender<Vec<CommandEvent>>,
    stdin: watch::Sender<(Vec<u8>, bool)>,
    killed: CancellationToken,
    detached: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next prompt plays this. Without any, agents answer at once.
    pub(crate) fn next_prompt(&self, acts: impl Into<Vec<Act>>) {
        self.state().acts.push_back(acts.into());
    }

    /// The next command plays this. Without any, commands write a line and exit with 0.
    pub(crate) fn next_command(&self, steps: impl Into<Vec<Step>>) {
        self.state().steps.push_back(steps.into());
    }

    /// The next call of a method fails.
    pub(crate) fn fail(&self, method: &'static str, error: Error) {
        self.state().failures.entry(method).or_default().push_back(error);
    }

    /// A method takes so long from now on.
    pub(crate) fn slow(&self, method: &'static str, delay: Duration) {
        self.state().delay.insert(method, delay);
    }

    pub(crate) fn set_patch(&self, patch: &str) {
        self.state().patch = patch.into();
    }

    /// A host that a session was denied.
    pub(crate) fn deny(&self, id: &SessionId, host: &str) {
        let now = Timestamp::now();
        self.state().waiting.push(EgressRequest {
            session: *id,
            host: host.into(),
            port: 443,
            rule: HostRule::exact(host, 443).unwrap(),
            first_at: now,
            last_at: now,
            times: 3,
        });
    }

    /// What sessions used of their model.
    pub(crate) fn spend(&self, spent: Spent) {
        self.state().spent = spent;
    }

    /// What agents do, and on what they hang.
    pub(crate) fn act(&self, activity: Activity) {
        self.state().activity = Some(activity);
    }

    /// How MCP servers are, those of every session.
    pub(crate) fn serve(&self, servers: McpStatus) {
        self.state().servers = servers;
    }

    /// What was kept of everybody's work.
    pub(crate) fn keep(&self, checkpoints: Vec<Checkpoint>) {
        self.state().checkpoints = checkpoints;
    }

    /// What `copy_out` gives for a path.
    pub(crate) fn put_archive(&self, path: &str, archive: Vec<u8>) {
        self.state().files.insert(path.into(), archive);
    }

    /// The archive that `copy_in` got for a path.
    pub(crate) fn archive(&self, path: &str) -> Option<Vec<u8>> {
        self.state().files.get(path).cloned()
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.calls()
            .iter()
            .filter(|call| call.split(' ').next() == Some(method))
            .count()
    }

    pub(crate) fn created(&self) -> Vec<CreateSession> {
        self.state().created.clone()
    }

    pub(crate) fn prompts(&self) -> Vec<PromptRequest> {
        self.state().prompts.clone()
    }

    pub(crate) fn commands(&self) -> Vec<CommandRequest> {
        self.state().commands.clone()
    }

    pub(crate) fn session_state(&self, id: &str) -> SessionState {
        self.state().sessions[&id.parse().unwrap()].info.state.clone()
    }

    /// All sessions that are not destroyed.
    pub(crate) fn alive(&self) -> Vec<SessionId> {
        let state = self.state();
        state
            .sessions
            .values()
            .filter(|s| s.info.state != SessionState::Destroyed)
            .map(|s| s.info.id)
            .collect()
    }

    /// A session that somebody else made.
    pub(crate) fn plant(&self, labels: &[(&str, &str)]) -> SessionId {
        let request = CreateSession {
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..CreateSession::default()
        };
        self.insert(&request).id
    }

    pub(crate) fn set_state(&self, id: &SessionId, to: SessionState) {
        self.state().sessions.get_mut(id).unwrap().info.state = to;
    }

    /// An event without a turn.
    pub(crate) fn note(&self, id: &SessionId, kind: EventKind) {
        self.emit(id, None, kind);
    }

    /// Forgets what runs, as a manager that starts anew does; what is detached goes on in its container.
    pub(crate) fn forget_commands(&self, id: &SessionId) {
        self.state().sessions.get_mut(id).unwrap().running.clear();
    }

    async fn enter(&self, method: &'static str, detail: &str) -> Result<()> {
        let (failure, delay) = {
            let mut state = self.state();
            state
                .calls
                .push(format!("{method} {detail}").trim_end().to_owned());
            (
                state.failures.get_mut(method).and_then(VecDeque::pop_front),
                state.delay.get(method).copied(),
            )
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        failure.map_or(Ok(()), Err)
    }

    fn insert(&self, request: &CreateSession) -> SessionInfo {
        let id = SessionId::new();
        let now = Timestamp::now();
        let info = SessionInfo {
            id,
            name: request.name.clone(),
            state: SessionState::Ready,
            created_at: now,
            updated_at: now,
            image: request
                .image
                .clone()
                .unwrap_or_else(|| "cofferdam-session:test".parse().unwrap()),
            network: request.network,
            limits: request.limits.unwrap_or_default(),
            workspace: request.workspace.clone(),
            mounts: request.mounts.clone(),
            user: UserIds::DEFAULT,
            agent: "claude".into(),
            model: request.model.clone(),
            small_model: request.small_model.clone(),
            allow: request.allow.clone(),
            budget: request.budget,
            certificates: false,
            permissions: request.permissions,
            mcp: plan(request),
            mcp_config: request.mcp_config.clone(),
            env: request.env.clone(),
            labels: request.labels.clone(),
            owner: request.owner.clone(),
            lifetime: request.lifetime,
            lease_until: None,
            on_interrupt: request.on_interrupt,
            turns: 0,
            last_event: 0,
            cost_usd: 0.0,
        };
        let session = Session {
            info: info.clone(),
            key: request.idempotency_key.clone(),
            events: Vec::new(),
            turns: Vec::new(),
            turn_keys: HashMap::new(),
            command_keys: HashMap::new(),
            interrupt: CancellationToken::new(),
            interrupts: HashMap::new(),
            running: HashMap::new(),
        };
        self.state().sessions.insert(id, session);
        self.emit(
            &id,
            None,
            EventKind::StateChanged {
                to: SessionState::Ready,
            },
        );
        info
    }

    fn emit(&self, id: &SessionId, turn: Option<TurnId>, kind: EventKind) -> u64 {
        let seq = {
            let mut state = self.state();
            let session = state.sessions.get_mut(id).unwrap();
            let seq = session.events.len() as u64 + 1;
            session.events.push(Event {
                session: *id,
                seq,
                at: Timestamp::now(),
                turn,
                kind,
            });
            session.info.last_event = seq;
            seq
        };
        self.changed.send_modify(|count| *count += 1);
        seq
    }

    fn with<T>(&self, id: &SessionId, work: impl FnOnce(&mut Session) -> T) -> Result<T> {
        let mut state = self.state();
        match state.sessions.get_mut(id) {
            Some(session) => Ok(work(session)),
            None => Err(Error::new(
                ErrorKind::NotFound,
                "find the session",
                "there is no such session",
            )
            .with_context("session", id)
            .with_hint("see `cofferdam ls --all`")),
        }
    }

    fn permit(&self, id: &SessionId, operation: Operation) -> Result<()> {
        self.with(id, |session| session.info.state.permits(operation))?
    }
}

/// A gateway's decision, where every server exists and there is no profile.
fn plan(request: &CreateSession) -> Option<McpPlan> {
    let own = request.mcp_config.as_ref();
    let own = own.and_then(|config| config["mcpServers"].as_object());
    let own = own.into_iter().flatten().map(|(name, _)| name.parse().unwrap());
    let plan = McpPlan {
        servers: request.mcp.servers.clone(),
        profile: request.mcp.profile.clone(),
        own: own.collect(),
        tools: request.mcp.tools.clone(),
        configuration: "sha256:c0ffee".into(),
        ..McpPlan::default()
    };
    (!plan.is_empty()).then_some(plan)
}

/// A fake as the server gets it.
pub(crate) struct Shared(pub(crate) Arc<Fake>);
