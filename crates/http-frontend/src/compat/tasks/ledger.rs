//! The tasks that this process knows.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use session_core::id::SessionId;
use tokio::sync::watch;

use crate::caller::Caller;
use crate::compat::journal::TaskWork;
use crate::compat::queue::Priority;

/// So many ended tasks are kept in memory; older ones are looked up in the store.
const MAX_ENDED: usize = 200;
/// And so many bytes of what was asked for in them.
const MAX_ENDED_BYTES: usize = 32 << 20;

/// A task.
#[derive(Debug)]
pub(in crate::compat) struct Task {
    pub(in crate::compat) id: SessionId,
    pub(in crate::compat) description: String,
    pub(in crate::compat) project_path: String,
    pub(in crate::compat) context: Value,
    pub(in crate::compat) priority: Priority,
    pub(in crate::compat) started_at: Timestamp,
    /// The token that asked for it.
    pub(super) owner: Option<String>,
    /// How long what was asked for is, about.
    bytes: usize,
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
    /// A task that waits.
    pub(super) fn new(id: SessionId, work: TaskWork, owner: Option<&str>) -> Self {
        Self {
            id,
            bytes: size(&work.description, &work.context),
            description: work.description,
            project_path: work.project_path,
            context: work.context,
            priority: work.priority,
            started_at: work.started_at,
            owner: owner.map(str::to_owned),
            state: watch::Sender::new(TaskState::Queued),
        }
    }

    /// A task that the store knows.
    #[expect(clippy::too_many_arguments, reason = "each is a field of what the store has")]
    pub(super) fn stored(
        id: SessionId,
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
            bytes: size(&description, &context),
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
    found: watch::Sender<Found>,
}

/// How far this process has looked for what an earlier one left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::compat) enum Found {
    #[default]
    Nothing,
    /// What goes on: it runs or waits again.
    Going,
    /// What ended, too.
    All,
}

#[derive(Debug, Default)]
struct State {
    tasks: HashMap<SessionId, Arc<Task>>,
    /// Ended tasks in memory, oldest first.
    ended: VecDeque<SessionId>,
    /// What was asked for in them, in bytes.
    ended_bytes: usize,
    /// Ended tasks that are not in memory any more, by owner.
    past: BTreeMap<Option<String>, Counts>,
    /// Failed tasks whose sessions are kept, oldest first.
    kept: VecDeque<Kept>,
}

/// The session of a failed task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) task: SessionId,
    pub(super) session: SessionId,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, task: Arc<Task>) {
        self.lock().tasks.insert(task.id, task);
    }

    /// The tasks that this process works on, or did.
    pub(super) fn known(&self) -> HashSet<SessionId> {
        self.lock().tasks.keys().copied().collect()
    }

    pub(in crate::compat) fn get(&self, id: SessionId, caller: &Caller) -> Option<Arc<Task>> {
        let task = self.lock().tasks.get(&id).cloned();
        task.filter(|task| task.exists_for(caller))
    }

    /// Ends a task, and forgets the oldest that ended.
    pub(super) fn end(&self, task: &Task, end: TaskState) {
        let mut state = self.lock();
        task.set(end);
        state.ended.push_back(task.id);
        state.ended_bytes += task.bytes;
        while state.ended.len() > MAX_ENDED || state.ended_bytes > MAX_ENDED_BYTES {
            let Some(oldest) = state.ended.pop_front() else {
                break;
            };
            if let Some(old) = state.tasks.remove(&oldest) {
                state.ended_bytes -= old.bytes;
                count(state.past.entry(old.owner.clone()).or_default(), &old.state());
            }
        }
    }

    /// Counts a task that ended in an earlier process. One that does not end is nobody's.
    pub(super) fn add_past(&self, task: &Task) {
        if !task.state().is_ended() {
            return;
        }
        let mut state = self.lock();
        count(state.past.entry(task.owner.clone()).or_default(), &task.state());
    }

    /// Keeps the session of a failed task; answers which one has to go for it. What was `found` in the store is older than
    /// all that is kept.
    pub(super) fn keep(&self, failed: Kept, limit: usize, found: bool) -> Option<Kept> {
        let mut state = self.lock();
        if found {
            if state.kept.len() >= limit {
                return Some(failed);
            }
            state.kept.push_front(failed);
            return None;
        }
        state.kept.push_back(failed);
        (state.kept.len() > limit)
            .then(|| state.kept.pop_front())
            .flatten()
    }

    /// Says how far the look went.
    pub(super) fn set_found(&self, found: Found) {
        self.found.send_replace(found);
    }

    /// Waits until this process has looked so far.
    pub(in crate::compat) async fn found(&self, wanted: Found) {
        // The sender lives in `self`.
        let _ = self.found.subscribe().wait_for(|found| *found >= wanted).await;
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

fn size(description: &str, context: &Value) -> usize {
    description.len() + context.to_string().len()
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
