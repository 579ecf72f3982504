//! Processes of a container: programs that run as tasks, with a spool, an input and an end.

mod attach;
mod spool;
mod stdin;
mod table;
mod terminal;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use session_link::{
    ExitCause, ExitReport, OnDisconnect, OutputStream, ProcessId, ProcessInfo, ProcessState, Signal, Spawned,
};
use tokio::sync::{Notify, mpsc, watch};

use super::freezer::Freezer;
pub(super) use attach::serve;
use spool::Spool;
pub(super) use stdin::Stdin;
pub(super) use table::Table;
pub(super) use terminal::Terminal;

/// How far a process may be ahead of its furthest reader before it is made to wait.
const ATTACHED_WINDOW: u64 = 512 << 10;

/// One process that was started and not forgotten.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) pid: Option<u32>,
    pub(super) argv: Vec<String>,
    link: u64,
    on_disconnect: OnDisconnect,
    began: Instant,
    ledger: Mutex<Ledger>,
    stdin: Stdin,
    terminal: Option<Terminal>,
    /// Output or end: readers look again.
    changed: Notify,
    /// Sent or acknowledged: writers look again.
    room: Notify,
    /// Why it is to end, first come first served.
    doom: watch::Sender<Option<Doom>>,
    handler: Mutex<Option<mpsc::Sender<Signal>>>,
    freezer: Freezer,
}

/// What ends a process other than itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    /// It is killed, for this.
    Killed(ExitCause),
    /// A signal that it does not handle.
    Signal(i32),
}

#[derive(Debug)]
struct Ledger {
    spool: Spool,
    acknowledged: u64,
    /// For each attached reader, what was sent to it.
    readers: BTreeMap<u64, u64>,
    output_left: Option<u64>,
    exit: Option<ExitReport>,
}

impl Process {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stdin(&self) -> &Stdin {
        &self.stdin
    }

    pub(super) fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref()
    }

    pub(super) fn spawned(&self, existed: bool) -> Spawned {
        Spawned {
            pid: self.pid,
            existed,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.lock().exit.is_none()
    }

    /// Sends a signal; `Kill` returns when it has ended.
    pub(super) async fn signal(&self, signal: Signal) {
        match signal {
            Signal::Kill => self.end(Doom::Killed(ExitCause::Cancelled)).await,
            Signal::Stop => self.freezer.set(true),
            Signal::Continue => self.freezer.set(false),
            signal => {
                let handler = self
                    .handler
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                match handler {
                    // A program that does not take its signals loses them, as a kernel's pending set would.
                    Some(handler) => drop(handler.try_send(signal)),
                    None => self.doom(Doom::Signal(number(signal))),
                }
            }
        }
    }

    /// Says why it is to end; the first one that is said counts.
    pub(super) fn doom(&self, doom: Doom) {
        self.doom.send_if_modified(|said| {
            let first = said.is_none();
            said.get_or_insert(doom);
            first
        });
    }

    pub(super) async fn end(&self, doom: Doom) {
        self.doom(doom);
        loop {
            let changed = self.changed.notified();
            if !self.is_running() {
                return;
            }
            changed.await;
        }
    }

    /// From now on its signals come here instead of ending it.
    pub(super) fn handle_signals(&self) -> mpsc::Receiver<Signal> {
        let (sender, receiver) = mpsc::channel(16);
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    pub(super) fn acknowledge(&self, upto: u64) {
        let mut ledger = self.lock();
        ledger.acknowledged = ledger.acknowledged.max(upto.min(ledger.spool.end()));
        ledger.release();
        self.room.notify_waiters();
    }

    /// Appends output; waits while somebody reads and nobody keeps up. Never returns past the output limit.
    pub(super) async fn write(&self, stream: OutputStream, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let room = self.room.notified();
            let written = self.lock().append(stream, &mut bytes);
            match written {
                Written::Taken => self.changed.notify_waiters(),
                Written::Full => room.await,
                Written::PastLimit => {
                    self.changed.notify_waiters();
                    self.doom(Doom::Killed(ExitCause::OutputLimit));
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Records its end and tells everybody.
    fn exited(&self, report: ExitReport) {
        self.lock().exit.get_or_insert(report);
        self.stdin.close();
        self.changed.notify_waiters();
    }

    /// How many bytes were neither sent to a reader nor acknowledged.
    pub(super) fn unread(&self) -> u64 {
        let ledger = self.lock();
        let sent = ledger.readers.values().copied().max().unwrap_or_default();
        ledger.spool.end() - sent.max(ledger.acknowledged)
    }

    pub(super) fn info(&self) -> ProcessInfo {
        let ledger = self.lock();
        ProcessInfo {
            id: self.id.clone(),
            pid: self.pid,
            state: ledger
                .exit
                .clone()
                .map_or(ProcessState::Running, ProcessState::Exited),
            start: ledger.spool.start(),
            end: ledger.spool.end(),
            acknowledged: ledger.acknowledged,
            stdin_key: self.stdin.key(),
            terminal: self.terminal.as_ref().map(Terminal::info),
            age: self.began.elapsed(),
        }
    }
}

enum Written {
    Taken,
    Full,
    PastLimit,
}

impl Ledger {
    fn append(&mut self, stream: OutputStream, bytes: &mut Bytes) -> Written {
        let furthest = self.readers.values().max();
        if furthest.is_some_and(|sent| self.spool.end() - sent >= ATTACHED_WINDOW) {
            return Written::Full;
        }
        let wanted = bytes.len().min(64 << 10);
        let kept = self.output_left.map_or(wanted, |left| {
            wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
        });
        if let Some(left) = &mut self.output_left {
            *left -= kept as u64;
        }
        if kept > 0 {
            self.spool.append(stream, bytes.split_to(kept));
        }
        if kept < wanted {
            Written::PastLimit
        } else {
            Written::Taken
        }
    }

    fn release(&mut self) {
        let slowest = self.readers.values().copied().min();
        let upto = slowest.map_or(self.acknowledged, |sent| sent.min(self.acknowledged));
        self.spool.release(upto);
    }
}

/// Linux numbers, as in signal(7).
pub(super) fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Hangup => 1,
        Signal::Interrupt => 2,
        Signal::Quit => 3,
        Signal::Kill => 9,
        Signal::User1 => 10,
        Signal::User2 => 12,
        Signal::Terminate => 15,
        Signal::Continue => 18,
        Signal::Stop => 19,
    }
}
