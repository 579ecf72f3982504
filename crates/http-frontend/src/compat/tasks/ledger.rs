//! The tasks that this process knows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use session_core::id::SessionId;
use tokio::sync::watch;

use crate::caller::Caller;
use crate::compat::queue::Priority;
use crate::compat::request::Execute;

/// So many ended tasks are kept in memory; older ones are looked up in the store.
const MAX_ENDED: usize = 200;

/// A task.
#[derive(Debug)]
pub(in crate::compat) struct Task {
    pub(in crate::compat) id: String,
    pub(in crate::compat) description: String,
    pub(in crate::compat) project_path: String,
    pub(in crate::compat) context: Value,
    pub(in crate::compat) priority: Priority,
    pub(in crate::compat) started_at: Timestamp,
    /// The token that asked for it.
    pub(super) owner: Option<String>,
    state: watch::Sender<TaskState>,
}

/// Where a task is.
#[derive(Debug, Clone)]
pub(in crate::compat) enum TaskState {
    /// It waits for a place.
    Queued,
    /// Its session is made or at work.
    Working,
    /// Its turn succeeded.
    Completed { at: Timestamp, results: Arc<Value> },
    /// It did not.
    Failed {
        at: Timestamp,
        error: String,
        /// Where one can look inside, as long as it is kept.
        session: Option<SessionId>,
    },
}

impl TaskState {
    pub(super) fn is_ended(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed { .. })
    }
}

impl Task {
    pub(super) fn new(id: String, asked: Execute, caller: &Caller) -> Self {
        Self {
            id,
            description: asked.task_description,
            project_path: asked.project_path,
            context: asked.context,
            priority: asked.priority,
            started_at: Timestamp::now(),
            owner: caller.name().map(str::to_owned),
            state: watch::Sender::new(TaskState::Queued),
        }
    }

    /// A task that the store knows.
    #[expect(clippy::too_many_arguments, reason = "each is a field of what the store has")]
    pub(super) fn stored(
        id: String,
        description: String,
        project_path: String,
        context: Value,
        priority: Priority,
        started_at: Timestamp,
        owner: Option<String>,
        state: TaskState,
    ) -> Self {
        Self {
            id,
            description,
            project_path,
            context,
            priority,
            started_at,
            owner,
            state: watch::Sender::new(state),
        }
    }

    pub(in crate::compat) fn state(&self) -> TaskState {
        self.state.borrow().clone()
    }

    pub(super) fn set(&self, state: TaskState) {
        self.state.send_replace(state);
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> TaskState {
        let mut states = self.state.subscribe();
        match states.wait_for(TaskState::is_ended).await {
            Ok(state) => state.clone(),
            // The sender lives in `self`.
            Err(_) => self.state(),
        }
    }

    fn exists_for(&self, caller: &Caller) -> bool {
        caller.sees_all() || self.owner.as_deref() == caller.name()
    }
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::compat) struct Counts {
    /// Waiting and at work.
    pub(in crate::compat) running: u64,
    /// Waiting alone.
    pub(in crate::compat) queued: u64,
    pub(in crate::compat) completed: u64,
    pub(in crate::compat) failed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::compat) struct Tasks {
    state: Mutex<State>,
    /// Whether the store was looked through.
    found: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    tasks: HashMap<String, Arc<Task>>,
    /// Ended tasks in memory, oldest first.
    ended: VecDeque<String>,
    /// Ended tasks that are not in memory any more, by owner.
    past: BTreeMap<Option<String>, Counts>,
    /// Sessions of failed tasks that are kept, oldest first.
    kept: VecDeque<SessionId>,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, task: Arc<Task>) {
        self.lock().tasks.insert(task.id.clone(), task);
    }

    /// Whether this process works on it, or did.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.lock().tasks.contains_key(id)
    }

    pub(in crate::compat) fn get(&self, id: &str, caller: &Caller) -> Option<Arc<Task>> {
        let task = self.lock().tasks.get(id).cloned();
        task.filter(|task| task.exists_for(caller))
    }

    /// Ends a task, and forgets the oldest that ended.
    pub(super) fn end(&self, task: &Task, end: TaskState) {
        let mut state = self.lock();
        task.set(end);
        state.ended.push_back(task.id.clone());
        while state.ended.len() > MAX_ENDED {
            let oldest = state.ended.pop_front();
            if let Some(old) = oldest.and_then(|id| state.tasks.remove(&id)) {
                count(state.past.entry(old.owner.clone()).or_default(), &old.state());
            }
        }
    }

    /// Counts a task that ended in an earlier process.
    pub(super) fn add_past(&self, task: &Task) {
        let mut state = self.lock();
        count(state.past.entry(task.owner.clone()).or_default(), &task.state());
    }

    /// Keeps the session of a failed task; answers which one has to go for it. What was `found` in the store is older than
    /// all that is kept.
    pub(super) fn keep(&self, session: SessionId, limit: usize, found: bool) -> Option<SessionId> {
        let mut state = self.lock();
        if found {
            if state.kept.len() >= limit {
                return Some(session);
            }
            state.kept.push_front(session);
            return None;
        }
        state.kept.push_back(session);
        (state.kept.len() > limit)
            .then(|| state.kept.pop_front())
            .flatten()
    }

    /// Says that the store was looked through.
    pub(super) fn set_found(&self) {
        self.found.send_replace(true);
    }

    /// Waits until the store was looked through.
    pub(in crate::compat) async fn found_again(&self) {
        // The sender lives in `self`.
        let _ = self.found.subscribe().wait_for(|found| *found).await;
    }

    /// How many exist for a caller.
    pub(in crate::compat) fn counts(&self, caller: &Caller) -> Counts {
        let state = self.lock();
        let mut counts = Counts::default();
        for task in state.tasks.values().filter(|task| task.exists_for(caller)) {
            count(&mut counts, &task.state());
        }
        let own = |owner: &Option<String>| caller.sees_all() || owner.as_deref() == caller.name();
        for (_, past) in state.past.iter().filter(|(owner, _)| own(owner)) {
            counts.completed += past.completed;
            counts.failed += past.failed;
        }
        counts
    }
}

fn count(counts: &mut Counts, state: &TaskState) {
    match state {
        TaskState::Queued => {
            counts.running += 1;
            counts.queued += 1;
        }
        TaskState::Working => counts.running += 1,
        TaskState::Completed { .. } => counts.completed += 1,
        TaskState::Failed { .. } => counts.failed += 1,
    }
}
