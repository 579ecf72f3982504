//! From the link into a file, and then into the store.
//!
//! The content is on the disk under its name before the row that tells of it is written, and the lock that keeps it from being
//! taken for garbage is held until then by whoever writes the row. Whatever dies in between leaves a file that no row names, and such a file is
//! removed later.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream;
use jiff::Timestamp;
use session_link::Link;
use tokio::sync::{Mutex, mpsc};

use super::count::PathCount;
use super::{Checkpoint, CheckpointCause, CheckpointPolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CheckpointId, SessionId, TurnId};
use crate::state_dir::{Content, ContentsLock, Room, StateDir};
use crate::store::Store;
use crate::workspace_tree::{self, Taking};

const KEEPING: &str = "keep a checkpoint";
/// How many pieces wait to be written.
const QUEUE: usize = 16;
/// How long a session may send nothing of a patch. git writes it as it goes; a large file, and what it tidies up at the end,
/// take it a while.
const STALL: Duration = Duration::from_secs(3 * 60);
/// How long it may look at its workspace before it begins; git is ended before that where the session does as it is told.
const LOOK: Duration = Duration::from_secs(16 * 60);

/// Where checkpoints are kept.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    pub(crate) state_dir: StateDir,
    pub(crate) store: Store,
    pub(crate) policy: CheckpointPolicy,
}

/// What is to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) session: SessionId,
    pub(crate) turn: Option<TurnId>,
    pub(crate) cause: CheckpointCause,
    /// The tree with which the workspace began.
    pub(crate) base: String,
}

/// What is known of a session's last checkpoint, so that an unchanged workspace costs no patch. Whoever takes one holds it.
pub(crate) type Last = Mutex<Option<Known>>;

#[derive(Debug)]
pub(crate) struct Known {
    base: String,
    tree: String,
    checkpoint: Option<Checkpoint>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The checkpoint that has the work, new or not; `None` when nothing differs from how the workspace began.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// How many files were too large to be in it.
    pub(crate) left_out: u64,
}

impl Keeper {
    /// Takes a checkpoint over a link, unless the newest one says the same.
    pub(crate) async fn take(&self, link: &Link, wanted: Wanted, last: &Last) -> Result<Taken> {
        let mut last = last.lock().await;
        let room = self.find_room(wanted.cause).await?;
        let known = last.take().filter(|known| known.base == wanted.base);
        let tree = known.as_ref().map(|known| known.tree.as_str());
        let begun = workspace_tree::take(link, &wanted.base, tree, self.policy.max_bytes);
        let mut taking = in_time(LOOK, begun).await?;
        let left_out = taking.left_out;
        let tree = taking.tree.clone();
        let checkpoint = match known {
            Some(known) if known.tree == tree => {
                finish(&mut taking).await?;
                known.checkpoint
            }
            _ => self.keep(&wanted, &mut taking, room).await?,
        };
        *last = Some(Known {
            base: wanted.base,
            tree,
            checkpoint: checkpoint.clone(),
        });
        Ok(Taken { checkpoint, left_out })
    }

    /// Refuses what nobody asked for when the disk of the host is nearly full, or has all that may be kept.
    async fn find_room(&self, cause: CheckpointCause) -> Result<Room> {
        if cause == CheckpointCause::Asked {
            return Ok(self.state_dir.room(None));
        }
        let mut room = self.state_dir.room(Some(self.policy.reserve_bytes));
        let looking = tokio::task::spawn_blocking(move || room.cover(1).map(|()| room));
        let room = looking.await.map_err(|died| broken_off().with_source(died))??;
        let mut kept = self.store.checkpoint_bytes().await?;
        if kept >= self.policy.total_bytes {
            self.trim_all().await;
            kept = self.store.checkpoint_bytes().await?;
        }
        if kept > self.policy.total_bytes {
            let message = "checkpoints have all the space that they may have";
            return Err(Error::new(ErrorKind::LimitExceeded, KEEPING, message)
                .with_context("kept", kept)
                .with_context("limit", self.policy.total_bytes)
                .with_hint(
                    "raise the limit in the policy, or shorten how long those of sessions that ended stay",
                ));
        }
        Ok(room)
    }

    async fn keep(&self, wanted: &Wanted, taking: &mut Taking, room: Room) -> Result<Option<Checkpoint>> {
        let nothing = taking.tree == wanted.base;
        let newest = self.store.checkpoint(&wanted.session, None).await?;
        if nothing && newest.as_ref().is_none_or(|newest| newest.bytes == 0) {
            return finish(taking).await.map(|()| None);
        }
        let (name, bytes, files, lock) = self.write(taking, room).await?;
        if let Some(newest) = newest
            && (&newest.sha256, &newest.base) == (&name, &wanted.base)
        {
            return Ok((!nothing).then_some(newest));
        }
        let checkpoint = Checkpoint {
            id: CheckpointId::new(),
            session: wanted.session,
            turn: wanted.turn,
            cause: wanted.cause,
            at: now(),
            base: wanted.base.clone(),
            sha256: name,
            bytes,
            files,
        };
        self.store.keep_checkpoint(checkpoint.clone(), lock).await?;
        self.trim(&wanted.session, self.policy.keep.max(1)).await;
        self.trim_all().await;
        // What undoes the checkpoint before is kept as well: the newest one is what is true.
        Ok((!nothing).then_some(checkpoint))
    }

    /// Brings the patch to the disk, in a thread that may wait for one.
    async fn write(&self, taking: &mut Taking, mut room: Room) -> Result<(String, u64, u64, ContentsLock)> {
        let (pieces, mut inbox) = mpsc::channel::<Bytes>(QUEUE);
        let state_dir = self.state_dir.clone();
        let (whole, judged) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::task::spawn_blocking(move || {
            let mut draft = state_dir.contents()?.draft()?;
            let mut count = PathCount::default();
            while let Some(piece) = inbox.blocking_recv() {
                room.cover(piece.len() as u64)?;
                count.feed(&piece);
                draft.write(&piece)?;
                room.written(piece.len() as u64);
            }
            // Without it, what came was not the whole: the draft goes.
            judged.blocking_recv().map_err(|_| broken_off())?;
            let (name, bytes, lock) = draft.keep()?;
            Ok((name, bytes, count.paths(), lock))
        });
        let mut bytes = 0_u64;
        while let Some(piece) = in_time(STALL, taking.next()).await? {
            bytes += piece.len() as u64;
            if bytes > self.policy.max_bytes {
                return Err(too_large(self.policy.max_bytes));
            }
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
        drop(pieces);
        let _ = whole.send(());
        writing.await.map_err(|died| broken_off().with_source(died))?
    }

    /// Forgets all but the newest checkpoints of a session, and what is too much of them. What cannot be removed now is removed later.
    pub(crate) async fn trim(&self, session: &SessionId, keep: usize) {
        let trimmed = async {
            let unwanted = self
                .store
                .trim_checkpoints(session, keep, self.policy.session_bytes)
                .await?;
            self.remove(unwanted).await
        };
        if let Err(error) = trimmed.await {
            tracing::warn!(%session, %error, "old checkpoints could not be removed");
        }
    }

    /// Forgets the oldest of all sessions when they have more than they may.
    async fn trim_all(&self) {
        let trimmed = async {
            let unwanted = self.store.trim_all_checkpoints(self.policy.total_bytes).await?;
            self.remove(unwanted).await
        };
        if let Err(error) = trimmed.await {
            tracing::warn!(%error, "old checkpoints could not be removed");
        }
    }

    /// Removes contents that no checkpoint names, unless one does by now or somebody keeps one: then it is done later.
    pub(crate) async fn remove(&self, mut unwanted: Vec<String>) -> Result<()> {
        if unwanted.is_empty() {
            return Ok(());
        }
        let contents = self.state_dir.contents()?;
        let Some(alone) = contents.try_lock_to_remove()? else {
            return Ok(());
        };
        let wanted = self.store.checkpoint_contents().await?;
        unwanted.retain(|name| !wanted.contains(name));
        let removing = tokio::task::spawn_blocking(move || contents.remove(&unwanted, &alone));
        removing.await.map_err(|died| broken_off().with_source(died))?
    }

    /// Removes contents that no checkpoint names, or says which they are. Nothing while somebody keeps one.
    pub(crate) async fn sweep(&self, dry_run: bool) -> Result<Vec<String>> {
        let contents = self.state_dir.contents()?;
        let Some(alone) = contents.try_lock_to_remove()? else {
            return Ok(Vec::new());
        };
        let wanted = self.store.checkpoint_contents().await?;
        let sweeping = tokio::task::spawn_blocking(move || {
            let mut unwanted = contents.list()?;
            unwanted.retain(|name| !wanted.contains(name));
            if !dry_run {
                contents.remove(&unwanted, &alone)?;
            }
            Ok(unwanted)
        });
        sweeping.await.map_err(|died| broken_off().with_source(died))?
    }

    /// The patch of a checkpoint, which was verified as a whole before its first byte.
    pub(crate) async fn patch(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + 'static> {
        let contents = self.state_dir.contents()?;
        let name = checkpoint.sha256.clone();
        let opening = tokio::task::spawn_blocking(move || contents.open(&name));
        let content = opening.await.map_err(|died| broken_off().with_source(died))??;
        Ok(stream::try_unfold(content, |content| async move {
            let reading = tokio::task::spawn_blocking(move || piece(content));
            reading.await.map_err(|died| broken_off().with_source(died))?
        }))
    }
}

fn piece(mut content: Content) -> Result<Option<(Bytes, Content)>> {
    let piece = content.next()?;
    Ok((!piece.is_empty()).then(|| (Bytes::from(piece), content)))
}

/// What a session sends next, unless it sends nothing for too long: what waits for it holds room on the disk.
async fn in_time<T>(limit: Duration, next: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, next).await.unwrap_or_else(|_| {
        let message = "the session sends nothing more of its changes";
        Err(Error::new(ErrorKind::LimitExceeded, KEEPING, message)
            .with_context("limit_s", limit.as_secs())
            .with_retryable(true)
            .with_hint("see what keeps the session from running; the next checkpoint has what this one would have had"))
    })
}

/// Reads on to the end, which says whether git succeeded.
async fn finish(taking: &mut Taking) -> Result<()> {
    while in_time(STALL, taking.next()).await?.is_some() {}
    Ok(())
}

/// As precise as the store, so that what is told is what is read later.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn broken_off() -> Error {
    Error::new(ErrorKind::Cancelled, KEEPING, "it was broken off")
}

fn too_large(limit: u64) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        KEEPING,
        "the session's changes are larger than what is kept",
    )
    .with_context("limit", limit)
    .with_hint("have git ignore what can be made again, or copy the files out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_that_sends_nothing_more_is_given_up() {
        let soon = async {
            tokio::time::sleep(STALL / 2).await;
            Ok(1)
        };
        assert_eq!(in_time(STALL, soon).await.unwrap(), 1);
        let stalled = in_time(STALL, std::future::pending::<Result<()>>())
            .await
            .unwrap_err();
        assert_eq!(stalled.kind(), ErrorKind::LimitExceeded);
        assert!(stalled.is_retryable() && stalled.hint().is_some());
    }
}
