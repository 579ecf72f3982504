//! What commands wrote, kept for a while so that a client can page through it.
//!
//! The container forgets a command once its end was read, and a result carries only so much text; in between stands
//! this book. It is bounded as a whole: output of commands that ended long ago goes first, then the middle of what is
//! longest. What is gone is said to be gone. Nothing rests on it: a server that starts anew reads running commands from
//! their containers again and finds the ends of the others in the event log.

mod collect;
mod transcript;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use session_core::command::{CommandExit, OutputStream};
use session_core::error::ErrorReport;
use session_core::id::{CommandId, SessionId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::collect::{Reading, collect};
pub(crate) use self::transcript::Page;
use self::transcript::Transcript;

/// How many commands are remembered.
const MAX_RECORDS: usize = 512;

/// How a command ended, or why that is not known.
pub(crate) type End = Result<CommandExit, ErrorReport>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Book {
    budget: usize,
    used: AtomicUsize,
    /// Oldest first.
    records: Mutex<VecDeque<Arc<Record>>>,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) session: SessionId,
    pub(crate) command: CommandId,
    /// The command as a line, when it was started here.
    pub(crate) line: Option<String>,
    pub(crate) since: Timestamp,
    /// Somebody wants it ended.
    pub(crate) kill: CancellationToken,
    transcript: Mutex<Transcript>,
    end: watch::Sender<Option<End>>,
}

impl Record {
    fn transcript(&self) -> MutexGuard<'_, Transcript> {
        self.transcript.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, once it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.borrow().clone()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        // The sender lives as long as this record.
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_else(|| unreachable!("waited for it")),
            Err(_) => unreachable!("the sender is ours"),
        }
    }

    /// Waits a moment for its end, for commands that may have ended before anybody looked.
    pub(crate) async fn settle(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.ended()).await;
    }

    fn finish(&self, end: End) {
        self.end.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(end);
            }
            first
        });
    }

    /// What was written from `offset` on, at most `limit` bytes.
    pub(crate) fn page(&self, offset: u64, limit: usize) -> Page {
        self.transcript().page(offset, limit)
    }

    /// The position after the last byte, and how much of that went to each stream.
    pub(crate) fn sizes(&self) -> (u64, u64, u64) {
        self.transcript().sizes()
    }
}

impl Book {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            budget,
            used: AtomicUsize::new(0),
            records: Mutex::default(),
        }
    }

    /// The record of a command, and whether it was made just now.
    pub(crate) fn open(
        &self,
        session: SessionId,
        command: CommandId,
        line: Option<String>,
    ) -> (Arc<Record>, bool) {
        let mut records = self.records();
        if let Some(known) = records
            .iter()
            .find(|record| record.session == session && record.command == command)
        {
            return (known.clone(), false);
        }
        if records.len() >= MAX_RECORDS {
            let oldest = records
                .iter()
                .position(|record| record.end().is_some())
                .unwrap_or(0);
            if let Some(gone) = records.remove(oldest) {
                self.empty(&gone);
            }
        }
        let record = Arc::new(Record {
            session,
            command,
            line,
            since: Timestamp::now(),
            kill: CancellationToken::new(),
            transcript: Mutex::new(Transcript::new(self.budget / 2)),
            end: watch::Sender::new(None),
        });
        records.push_back(record.clone());
        (record, true)
    }

    /// The record of a command, if there is one.
    pub(crate) fn find(&self, session: &SessionId, command: &CommandId) -> Option<Arc<Record>> {
        let records = self.records();
        records
            .iter()
            .find(|record| record.session == *session && record.command == *command)
            .cloned()
    }

    /// All records of a session.
    pub(crate) fn of_session(&self, session: &SessionId) -> Vec<Arc<Record>> {
        self.records()
            .iter()
            .filter(|record| record.session == *session)
            .cloned()
            .collect()
    }

    /// Takes a record out: it was opened for a command that turned out not to be there.
    pub(crate) fn remove(&self, record: &Arc<Record>) {
        self.records().retain(|known| !Arc::ptr_eq(known, record));
        self.empty(record);
    }

    fn push(&self, record: &Record, stream: OutputStream, offset: u64, bytes: &[u8]) {
        self.account(record, |transcript| transcript.push(stream, offset, bytes));
        let excess = self.used.load(Ordering::Relaxed).saturating_sub(self.budget);
        if excess > 0 {
            self.make_room(record, excess);
        }
    }

    fn account(&self, record: &Record, change: impl FnOnce(&mut Transcript)) {
        let mut transcript = record.transcript();
        let before = transcript.cost();
        change(&mut transcript);
        let after = transcript.cost();
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    fn empty(&self, record: &Record) {
        self.account(record, |transcript| transcript.shrink(0));
    }

    fn make_room(&self, writing: &Record, mut excess: usize) {
        let ended: Vec<_> = self
            .records()
            .iter()
            .filter(|record| record.end().is_some())
            .cloned()
            .collect();
        for record in ended {
            if excess == 0 {
                return;
            }
            excess = excess.saturating_sub(record.transcript().cost());
            self.empty(&record);
        }
        if excess > 0 {
            self.account(writing, |transcript| {
                transcript.shrink(transcript.cost().saturating_sub(excess))
            });
        }
    }

    fn records(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> CommandExit {
        CommandExit {
            cause: session_core::command::ExitCause::Exited,
            code: Some(0),
            signal: None,
            duration_ms: 1,
            output_bytes: 0,
        }
    }

    #[test]
    fn a_flood_stays_within_the_budget_and_says_what_is_gone() {
        let book = Book::new(64 << 10);
        let (record, _) = book.open(SessionId::new(), CommandId::new(), None);
        let mut offset = 0;
        for _ in 0..1000 {
            book.push(&record, OutputStream::Stdout, offset, &[b'x'; 4096]);
            offset += 4096;
        }
        assert!(book.used.load(Ordering::Relaxed) <= 64 << 10);
        let page = record.page(0, 1 << 20);
        assert_eq!(page.total, offset);
        let (from, to) = page.lost.expect("the middle is gone");
        assert!(from > 0 && to < offset);
        assert_eq!(page.next, offset, "the end is there");
    }

    #[test]
    fn single_bytes_to_both_streams_cost_what_they_cost() {
        let book = Book::new(64 << 10);
        let (record, _) = book.open(SessionId::new(), CommandId::new(), None);
        for offset in 0..100_000_u64 {
            let stream = if offset % 2 == 0 {
                OutputStream::Stdout
            } else {
                OutputStream::Stderr
            };
            book.push(&record, stream, offset, b"x");
        }
        assert!(book.used.load(Ordering::Relaxed) <= 64 << 10);
        assert_eq!(record.sizes(), (100_000, 50_000, 50_000));
    }

    #[test]
    fn what_ended_goes_first() {
        let book = Book::new(64 << 10);
        let session = SessionId::new();
        let (old, _) = book.open(session, CommandId::new(), None);
        book.push(&old, OutputStream::Stdout, 0, &[b'x'; 20 << 10]);
        old.finish(Ok(exit()));
        let (new, _) = book.open(session, CommandId::new(), None);
        for part in 0..3 {
            book.push(&new, OutputStream::Stdout, part * (10 << 10), &[b'y'; 10 << 10]);
        }
        assert_eq!(new.page(0, 1 << 20).lost, None);
        let (third, _) = book.open(session, CommandId::new(), None);
        book.push(&third, OutputStream::Stdout, 0, &[b'z'; 20 << 10]);
        assert_eq!(old.page(0, 1 << 20).lost, Some((0, 20 << 10)));
        assert_eq!(new.page(0, 1 << 20).lost, None);
        assert_eq!(third.page(0, 1 << 20).lost, None);
    }

    #[test]
    fn as_many_commands_as_it_takes_are_remembered_and_no_more() {
        let book = Book::new(1 << 20);
        for _ in 0..2 * MAX_RECORDS {
            book.open(SessionId::new(), CommandId::new(), None);
        }
        assert_eq!(book.records().len(), MAX_RECORDS);
    }
}
