//! Checkpoints as a session's task takes them: after each turn, while one runs, when asked, and before the end.
//!
//! Each is taken in a task of its own, beside the agent's output and one after the other; the next turn waits a moment for
//! the one after the last. Nothing of a session depends on it: what cannot be kept is told, and the session goes on.

use std::sync::Arc;
use std::time::Duration;

use session_link::Link;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Answer, Driver, Foundation};
use crate::checkpoint::keep::{Keeper, Last, Taken, Wanted};
use crate::checkpoint::{Checkpoint, CheckpointCause};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::{SessionId, TurnId};
use crate::session::{SIDECAR_LABEL, SessionInfo, WorkspaceSource};
use crate::store::{Batch, SessionRecord};
use crate::workspace_tree;

/// How long a turn waits for the checkpoint of the one before it.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of this process waits for it.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// The checkpoints that a session's task takes.
#[derive(Default)]
pub(super) struct Checkpoints {
    last: Arc<Last>,
    told: Arc<std::sync::Mutex<Told>>,
    taking: JoinSet<()>,
    /// When one was begun last.
    begun: Option<Instant>,
}

/// What was said of checkpoints that were not, or not wholly, taken: each thing once until it is another.
#[derive(Default)]
struct Told {
    failure: Option<ErrorKind>,
    left_out: u64,
}

/// All that it takes, apart from the session's task.
pub(super) struct Job {
    foundation: Foundation,
    keeper: Keeper,
    link: Link,
    wanted: Wanted,
    last: Arc<Last>,
    told: Arc<std::sync::Mutex<Told>>,
}

impl Foundation {
    pub(crate) fn keeper(&self) -> Keeper {
        Keeper {
            state_dir: (*self.state_dir).clone(),
            store: self.store.clone(),
            policy: self.checkpoints,
        }
    }
}

/// Whether its work is kept without being asked for: a mounted directory is the host's, and a sidecar has no work.
pub(super) fn keeps_by_itself(info: &SessionInfo) -> bool {
    !matches!(info.workspace, WorkspaceSource::Mount { .. }) && !info.labels.contains_key(SIDECAR_LABEL)
}

impl Driver {
    /// A turn has ended: what it made is kept.
    pub(super) async fn checkpoint_after(&mut self, turn: TurnId) {
        self.begin_by_itself(CheckpointCause::Turn, Some(turn)).await;
    }

    /// When the next one is due because a turn runs on.
    pub(super) fn checkpoint_due(&self) -> Option<Instant> {
        let policy = self.foundation.checkpoints;
        let since = self.active_turn()?.started();
        let since = self.checkpoints.begun.map_or(since, |begun| begun.max(since));
        policy.automatic.then(|| since + policy.every)
    }

    pub(super) async fn checkpoint_if_due(&mut self) {
        if self.checkpoint_due().is_some_and(|due| due <= Instant::now()) {
            let turn = self.active_turn().map(|active| active.id);
            self.begin_by_itself(CheckpointCause::Timer, turn).await;
        }
    }

    async fn begin_by_itself(&mut self, cause: CheckpointCause, turn: Option<TurnId>) {
        self.checkpoints.begun = Some(Instant::now());
        if !self.foundation.checkpoints.automatic {
            return;
        }
        match self.job(cause, turn).await {
            Ok(Some(job)) => self.checkpoints.begin(async move { job.take_by_itself().await }),
            Ok(None) => {}
            Err(error) => tracing::debug!(session = %self.id, %error, "no checkpoint was begun"),
        }
    }

    /// What it takes when the work is kept by itself, the link is up and it is known how the workspace began.
    async fn job(&mut self, cause: CheckpointCause, turn: Option<TurnId>) -> Result<Option<Job>> {
        let record = self.record().await?;
        let Some(connection) = &self.connection else {
            return Ok(None);
        };
        let base = known_base(&record).filter(|_| keeps_by_itself(&record.info));
        let link = connection.link.clone();
        Ok(base.map(|base| self.job_on(link, base, cause, turn)))
    }

    pub(super) fn job_on(
        &self,
        link: Link,
        base: String,
        cause: CheckpointCause,
        turn: Option<TurnId>,
    ) -> Job {
        Job {
            keeper: self.foundation.keeper(),
            foundation: self.foundation.clone(),
            link,
            wanted: Wanted {
                session: self.id,
                turn,
                cause,
                base,
            },
            last: self.checkpoints.last.clone(),
            told: self.checkpoints.told.clone(),
        }
    }

    /// Somebody asked: the answer comes when it is taken, and nothing waits for that.
    pub(super) fn begin_asked(&mut self, job: Result<Job>, answer: Answer<Option<Checkpoint>>) {
        match job {
            Ok(job) => self.checkpoints.begin(async move {
                let outcome = job.take().await.map(|taken| taken.checkpoint);
                let _ = answer.send(outcome);
            }),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// What it takes when somebody asks, whatever the workspace is, and whether or not a turn runs.
    pub(super) async fn asked_job(&mut self) -> Result<Job> {
        let base = self.checkpoint_base().await?;
        let (link, _) = self.connect().await?;
        let turn = self.active_turn().map(|active| active.id);
        Ok(self.job_on(link, base, CheckpointCause::Asked, turn))
    }

    /// The tree against which checkpoints are taken, written now if it was never written.
    pub(super) async fn checkpoint_base(&mut self) -> Result<String> {
        match known_base(&self.record().await?) {
            Some(base) => Ok(base),
            None => self.snapshot().await,
        }
    }

    /// Takes one and waits for it.
    pub(super) async fn checkpoint_now(&mut self, cause: CheckpointCause) -> Result<()> {
        let base = self.checkpoint_base().await?;
        let (link, _) = self.connect().await?;
        self.job_on(link, base, cause, None).take().await.map(drop)
    }

    /// Waits for what was begun, up to a moment. Cancel-safe: what was begun goes on.
    pub(super) async fn settle_checkpoints(&mut self) {
        let _ = tokio::time::timeout(TURN_PATIENCE, self.checkpoints.settled()).await;
    }

    /// The same when this process lets go of the session.
    pub(super) async fn settle_checkpoints_for_good(&mut self) {
        if tokio::time::timeout(FAREWELL_PATIENCE, self.checkpoints.settled())
            .await
            .is_err()
        {
            tracing::warn!(session = %self.id, "a checkpoint was broken off; the next one has what it would have had");
        }
    }

    /// After the session was destroyed: its newest checkpoint stays.
    pub(super) async fn keep_newest_checkpoint(&self) {
        self.foundation.keeper().trim(&self.id, 1).await;
    }

    /// From now on the workspace is compared with another tree.
    pub(super) async fn new_base(&mut self, base: String) -> Result<()> {
        let batch = Batch {
            base_tree: Some(base),
            ..Batch::default()
        };
        self.foundation.store.commit(&self.id, batch).await.map(drop)
    }
}

/// The tree with which the workspace began, as far as it is known without asking.
pub(super) fn known_base(record: &SessionRecord) -> Option<String> {
    match record.info.workspace {
        WorkspaceSource::Empty => Some(workspace_tree::EMPTY_TREE.to_owned()),
        _ => record.base_tree.clone(),
    }
}

impl Checkpoints {
    /// Whether the session's events say already that it cannot be kept for this.
    pub(super) fn was_told(&self, kind: ErrorKind) -> bool {
        let told = self
            .told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        told.failure == Some(kind)
    }

    fn begin(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while self.taking.try_join_next().is_some() {}
        self.begun = Some(Instant::now());
        self.taking.spawn(work);
    }

    async fn settled(&mut self) {
        while self.taking.join_next().await.is_some() {}
    }
}

impl Job {
    pub(super) async fn take(&self) -> Result<Taken> {
        let _at_work = self.foundation.work.token();
        let taken = self
            .keeper
            .take(&self.link, self.wanted.clone(), &self.last)
            .await
            .map_err(|error| error.with_context("session", self.wanted.session))?;
        self.tell_left_out(taken.left_out).await;
        Ok(taken)
    }

    /// Nobody waits for it: what goes wrong is an event, once.
    async fn take_by_itself(&self) {
        let session = &self.wanted.session;
        let failure = match self.take().await {
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%session, %error, "no checkpoint could be taken");
                Some(error).filter(worth_telling)
            }
        };
        let kind = failure.as_ref().map(Error::kind);
        let news = std::mem::replace(&mut self.told().failure, kind) != kind;
        if let Some(error) = failure.filter(|_| news) {
            self.tell(session, error).await;
        }
    }

    async fn tell_left_out(&self, left_out: u64) {
        let before = std::mem::replace(&mut self.told().left_out, left_out);
        if left_out > before {
            let message = "files that are too large are not in the session's checkpoints";
            let error = Error::new(ErrorKind::LimitExceeded, "take a checkpoint", message)
                .with_context("files", left_out)
                .with_hint("have git ignore what can be made again, or copy the files out");
            self.tell(&self.wanted.session, error).await;
        }
    }

    async fn tell(&self, session: &SessionId, error: Error) {
        let error = error.report();
        let batch = Batch {
            events: vec![(None, EventKind::Problem { error })],
            ..Batch::default()
        };
        if let Err(error) = self.foundation.store.commit(session, batch).await {
            tracing::debug!(%session, %error, "it could not be told");
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// That a session went away is told by its state; that it has no git was told when its first turn began.
fn worth_telling(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::LinkLost
            | ErrorKind::ContainerLost
            | ErrorKind::StateConflict
            | ErrorKind::Cancelled
            | ErrorKind::NotFound
            | ErrorKind::Unsupported
    )
}
