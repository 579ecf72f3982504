//! A scripted agent: it stands where Claude Code stands and speaks its stream-json, line by line as recorded.
//!
//! The real agent needs its 377 MB, an image and a model; what tests of a session's life need is one that does on command
//! what the real one does rarely: die in the middle, ignore an interrupt, write garbage, take all memory.

mod interface;
mod play;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session_core::id::SessionId;
use tokio::sync::watch;

pub use turn::AgentTurn;

/// Where sessions look for their agent.
pub(super) const PROGRAM: &str = "/opt/cofferdam/bin/claude";

/// A prompt that an agent read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPrompt {
    /// The session.
    pub session: SessionId,
    /// The conversation, as the agent names it.
    pub conversation: String,
    /// The prompt.
    pub text: String,
}

/// A start of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStart {
    /// The session.
    pub session: SessionId,
    /// Its arguments after the program.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// The conversation that it goes on with.
    pub resumed: Option<String>,
}

/// What is done with a prompt for which nothing was said.
type Otherwise = Box<dyn Fn(&str) -> AgentTurn + Send + Sync>;

#[derive(Default)]
struct State {
    turns: VecDeque<AgentTurn>,
    otherwise: Option<Otherwise>,
    prompts: Vec<SeenPrompt>,
    starts: Vec<AgentStart>,
    /// Conversations that can be resumed: an agent keeps its own from its first words on.
    kept: BTreeSet<String>,
    ends: usize,
    interrupts: u64,
    overlaps: u64,
}

impl State {
    fn next(&mut self, prompt: &str) -> AgentTurn {
        if let Some(turn) = self.turns.pop_front() {
            return turn;
        }
        match &self.otherwise {
            Some(otherwise) => otherwise(prompt),
            None => AgentTurn::new().say(prompt),
        }
    }
}

/// The agents of all containers of a [`super::MemoryRuntime`]: what they will do, and what they saw.
#[derive(Clone)]
pub struct Agents {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents").finish_non_exhaustive()
    }
}

impl Agents {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    /// The conversation can be resumed from now on.
    fn keep(&self, conversation: &str) {
        self.note(|state| {
            state.kept.insert(conversation.to_owned());
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
    }

    /// What is done with the next prompt for which nothing was said yet. Without anything said, the agent repeats the
    /// prompt and is done, unless [`Agents::otherwise`] knows better.
    pub fn then(&self, turn: AgentTurn) {
        self.lock().turns.push_back(turn);
    }

    /// What is done with prompts for which [`Agents::then`] says nothing, by what they say. Called in the runtime of the
    /// agents.
    pub fn otherwise(&self, turn: impl Fn(&str) -> AgentTurn + Send + Sync + 'static) {
        self.lock().otherwise = Some(Box::new(turn));
    }

    /// Every prompt that any agent read, in order.
    pub fn prompts(&self) -> Vec<SeenPrompt> {
        self.lock().prompts.clone()
    }

    /// Every start of an agent, in order.
    pub fn starts(&self) -> Vec<AgentStart> {
        self.lock().starts.clone()
    }

    /// How many interrupts any agent read.
    pub fn interrupts(&self) -> u64 {
        self.lock().interrupts
    }

    /// How many prompts came while a turn ran; the real agent would merge them. Always 0 with a correct manager.
    pub fn overlaps(&self) -> u64 {
        self.lock().overlaps
    }

    /// Waits until agents have read so many prompts.
    pub async fn wait_for_prompts(&self, count: usize) {
        self.wait(|state| state.prompts.len() >= count).await;
    }

    /// Waits until agents are done with so many prompts, one way or another.
    pub async fn wait_for_ends(&self, count: usize) {
        self.wait(|state| state.ends >= count).await;
    }

    /// Waits until agents have read so many interrupts.
    pub async fn wait_for_interrupts(&self, count: u64) {
        self.wait(|state| state.interrupts >= count).await;
    }

    async fn wait(&self, reached: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        while !reached(&self.lock()) {
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }
}
