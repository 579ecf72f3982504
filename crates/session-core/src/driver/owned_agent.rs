//! The agent's process in the hands of the one who owns it: read, written to, ended.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use session_link::{Link, LinkError, Process, ProcessEvent, ProcessId, Signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lines::Lines;
use super::turns::ActiveTurn;
use crate::state_dir::AgentLock;
use crate::store::AgentRecord;

/// How many bytes of the agent's last remarks are kept to explain its end.
pub(super) const LAST_WORDS: usize = 2 << 10;
/// Stored output is acknowledged in steps of this size.
const ACKNOWLEDGE_STEP: u64 = 64 << 10;
/// Writes that wait for an agent that does not read: those of one turn, and a few that ended while it did not.
const WRITES: usize = 16;
/// Before a write is tried again that failed although the link is up.
const WRITE_PAUSE: Duration = Duration::from_millis(200);

/// An agent that this process owns.
pub(super) struct OwnedAgent {
    /// Held for as long as the agent is owned.
    pub(super) lock: AgentLock,
    pub(super) link: Link,
    pub(super) process: Process,
    pub(super) lines: Lines,
    /// As in the store.
    pub(super) record: AgentRecord,
    pub(super) turn: Option<ActiveTurn>,
    /// It could not resume its conversation and ends without having begun.
    pub(super) conversation_lost: bool,
    last_words: Vec<u8>,
    acknowledged: u64,
    writes: mpsc::Sender<(u64, Bytes)>,
    /// Write to the agent and end it; they go with it.
    helpers: JoinSet<()>,
}

impl OwnedAgent {
    pub(super) fn new(lock: AgentLock, link: Link, mut process: Process, record: AgentRecord) -> Self {
        process.acknowledge_manually();
        let (writes, queue) = mpsc::channel(WRITES);
        let mut helpers = JoinSet::new();
        helpers.spawn(feed(link.clone(), process.id().clone(), queue));
        Self {
            lock,
            link,
            lines: Lines::from(record.offset),
            process,
            acknowledged: record.offset,
            record,
            turn: None,
            conversation_lost: false,
            last_words: Vec::new(),
            writes,
            helpers,
        }
    }

    /// When something is to be done about the running turn.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.turn.as_ref().and_then(ActiveTurn::deadline)
    }

    /// The next key for a prompt (even) or an interrupt (odd).
    pub(super) fn next_key(&self, interrupt: bool) -> u64 {
        let next = self.record.stdin_key + 1;
        if (next % 2 == 1) == interrupt {
            next
        } else {
            next + 1
        }
    }

    /// Gives the agent bytes under the key that is stored already, behind what it was given before. An agent that does
    /// not read holds up nobody but itself.
    pub(super) fn write(&self, bytes: Bytes) {
        // At most a prompt and an interrupt of each turn wait. If the writer is gone so is the link, and whoever owns the
        // agent next writes again what counts.
        if self.writes.try_send((self.record.stdin_key, bytes)).is_err() {
            tracing::debug!(process = %self.process.id(), "nobody writes to the agent any more");
        }
    }

    /// Ends the agent's whole process tree, in a while; its exit is reported like any other.
    pub(super) fn kill(&mut self) {
        let (link, id) = (self.link.clone(), self.process.id().clone());
        while self.helpers.try_join_next().is_some() {}
        self.helpers.spawn(async move {
            if let Err(error) = link.signal(&id, Signal::Kill).await {
                tracing::debug!(process = %id, %error, "the agent could not be ended");
            }
        });
    }

    /// Says what was stored, so that the container need not keep it. Not more than that: what is not stored is read
    /// again by whoever owns the agent next.
    pub(super) fn acknowledge(&mut self) {
        let settled = self.record.offset;
        if settled - self.acknowledged < ACKNOWLEDGE_STEP {
            return;
        }
        // Not waited for: what cannot be said now is said with the next step.
        if let Some(Ok(())) = self.process.acknowledge(settled).now_or_never() {
            self.acknowledged = settled;
        }
    }

    pub(super) fn last_words(&self) -> String {
        String::from_utf8_lossy(&self.last_words)
            .trim()
            .escape_debug()
            .to_string()
    }

    pub(super) fn remember(&mut self, stderr: &[u8]) {
        self.last_words.extend_from_slice(stderr);
        let excess = self.last_words.len().saturating_sub(LAST_WORDS);
        self.last_words.drain(..excess);
    }
}

/// Writes what the agent is given, in order, until the link is gone. Keys make it safe to try again.
async fn feed(link: Link, id: ProcessId, mut writes: mpsc::Receiver<(u64, Bytes)>) {
    while let Some((key, bytes)) = writes.recv().await {
        fail::fail_point!("driver.stdin.before");
        while let Err(error) = link.write_stdin(&id, key, bytes.clone()).await {
            tracing::debug!(process = %id, %error, "the agent could not be written to");
            if link.is_closed() {
                return;
            }
            if !error.retryable() {
                break;
            }
            tokio::time::sleep(WRITE_PAUSE).await;
        }
    }
}

/// The agent's next output; never without an agent.
pub(super) async fn next(agent: &mut Option<OwnedAgent>) -> Result<Option<ProcessEvent>, LinkError> {
    match agent {
        Some(agent) => agent.process.next().await,
        None => std::future::pending().await,
    }
}
