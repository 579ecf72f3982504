//! Processes: started through a supervisor, read into a spool, ended as whole trees, remembered until forgotten.
//!
//! ```text
//!  Registry ── id ──▶ Process ◀── pump: the one task per process; pipes → spool, supervisor's reports → exit
//!                        ▲
//!                        └── attach: one future per reader; spool → link, acknowledgements and input back
//! ```
//!
//! Everything runs on one thread: state is in cells, and is never borrowed across an await.

mod attach;
mod pump;
mod registry;
mod source;
mod spawn;
mod stdin;
pub(crate) mod supervise;
pub(crate) mod terminal;
pub(crate) mod tree;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Instant,
};

use session_link::{
    ExitCause, ExitReport, LinkError, OnDisconnect, ProcessId, ProcessInfo, ProcessState, Result, Signal,
    Spawned, SpoolLimits, WindowSize,
};
use tokio::sync::Notify;

use self::supervise::Refusal;
use self::terminal::Terminal;
use crate::spool::{Chunk, Spool};
pub(crate) use attach::{Place, serve};
pub(crate) use registry::Registry;
pub(crate) use stdin::Stdin;

/// How far a process may be ahead of what was sent to the reader that is furthest, before it is made to wait. What was
/// sent counts, not what was acknowledged: acknowledgements travel behind input, which such a process may not be reading.
const ATTACHED_WINDOW: u64 = 512 << 10;

/// The same in pieces, of which a process can make many with few bytes.
const ATTACHED_CHUNKS: usize = 4096;

/// What may stay in memory while somebody reads: the window, and what is on its way to be acknowledged.
const ATTACHED_MEMORY: usize = 2 << 20;

/// A link, as far as processes tell them apart.
pub(crate) type LinkId = u64;

/// One process that was started and not forgotten.
#[derive(Debug)]
pub(crate) struct Process {
    id: ProcessId,
    link: LinkId,
    on_disconnect: OnDisconnect,
    began: Instant,
    memory: usize,
    /// Known once it was started, or could not be.
    pid: Cell<Option<u32>>,
    started: Cell<bool>,
    /// Not started, for a reason that is none of its own.
    refused: Cell<Option<Refusal>>,
    /// Gone once it was reaped.
    supervisor: Cell<Option<i32>>,
    /// How many are at ending its tree right now.
    endings: Cell<u32>,
    /// Why init ended it, if init did.
    ended_for: Cell<Option<ExitCause>>,
    exit: RefCell<Option<ExitReport>>,
    /// Somebody was told of its end.
    delivered: Cell<bool>,
    spool: RefCell<Spool>,
    acknowledged: Cell<u64>,
    /// For each attached reader, what was sent to it.
    readers: RefCell<BTreeMap<u64, u64>>,
    stdin: Stdin,
    terminal: Option<Terminal>,
    /// Output, start or end: readers look again.
    changed: Notify,
    /// Acknowledged, detached, or ended: the pump looks again.
    room: Notify,
}

impl Process {
    fn new(
        id: ProcessId,
        link: LinkId,
        on_disconnect: OnDisconnect,
        limits: SpoolLimits,
        spool: Spool,
        stdin: Stdin,
        terminal: Option<Terminal>,
    ) -> Self {
        Self {
            id,
            link,
            on_disconnect,
            began: Instant::now(),
            memory: usize::try_from(limits.memory).unwrap_or(usize::MAX),
            pid: Cell::new(None),
            started: Cell::new(false),
            refused: Cell::new(None),
            supervisor: Cell::new(None),
            endings: Cell::new(0),
            ended_for: Cell::new(None),
            exit: RefCell::new(None),
            delivered: Cell::new(false),
            spool: RefCell::new(spool),
            acknowledged: Cell::new(0),
            readers: RefCell::new(BTreeMap::new()),
            stdin,
            terminal,
            changed: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(crate) fn stdin(&self) -> &Stdin {
        &self.stdin
    }

    /// # Errors
    /// `InvalidArgument` without a terminal, `Io`.
    pub(crate) fn resize(&self, size: WindowSize) -> Result<()> {
        let Some(terminal) = &self.terminal else {
            return Err(LinkError::invalid("resize", "the process has no terminal"));
        };
        terminal
            .resize(size)
            .map_err(|error| LinkError::io("resize", "the terminal takes no other size", error))
    }

    pub(crate) fn spawned(&self, existed: bool) -> Spawned {
        Spawned {
            pid: self.pid.get(),
            existed,
        }
    }

    /// Waits until it was started, or could not be.
    pub(crate) async fn started(&self) {
        loop {
            let changed = self.changed.notified();
            if self.started.get() {
                return;
            }
            changed.await;
        }
    }

    /// Sends a signal to the whole tree; `Kill` returns when nothing of it runs.
    pub(crate) async fn signal(&self, signal: Signal) {
        self.started().await;
        match signal_number(signal) {
            rustix::process::Signal::KILL => self.end(ExitCause::Cancelled).await,
            number => {
                if let Some(supervisor) = self.supervisor.get() {
                    tree::signal(supervisor, number);
                }
            }
        }
    }

    /// Ends the whole tree. The first cause that is given before the command ends by itself is the one reported.
    async fn end(&self, cause: ExitCause) {
        self.started().await;
        if self.exit.borrow().is_none() && self.ended_for.get().is_none() {
            self.ended_for.set(Some(cause));
        }
        if let Some(supervisor) = self.supervisor.get() {
            let _ending = Ending::of(self);
            tree::kill(supervisor).await;
        }
    }

    /// Output before `upto` was handled.
    pub(crate) fn acknowledge(&self, upto: u64) {
        let upto = upto.min(self.spool.borrow().end());
        self.acknowledged.set(self.acknowledged.get().max(upto));
        self.release();
    }

    fn release(&self) {
        let slowest = self.readers.borrow().values().copied().min();
        let upto = self.acknowledged.get();
        self.spool
            .borrow_mut()
            .release(slowest.map_or(upto, |sent| sent.min(upto)));
        self.room.notify_one();
    }

    /// Whether the process must wait: somebody reads, and nobody keeps up. Those that lag behind one that does lose.
    fn must_wait(&self) -> bool {
        let readers = self.readers.borrow();
        let Some(furthest) = readers.values().max() else {
            return false;
        };
        let spool = self.spool.borrow();
        spool.end().saturating_sub(*furthest) >= ATTACHED_WINDOW
            || spool.chunks_from(*furthest) >= ATTACHED_CHUNKS
    }

    fn append(&self, chunk: Chunk) {
        let attached = !self.readers.borrow().is_empty();
        let memory = if attached {
            self.memory.max(ATTACHED_MEMORY)
        } else {
            self.memory
        };
        self.spool.borrow_mut().append(chunk, memory);
        self.changed.notify_waiters();
    }

    fn info(&self) -> ProcessInfo {
        let spool = self.spool.borrow();
        ProcessInfo {
            id: self.id.clone(),
            pid: self.pid.get(),
            state: self
                .exit
                .borrow()
                .clone()
                .map_or(ProcessState::Running, ProcessState::Exited),
            start: spool.start(),
            end: spool.end(),
            acknowledged: self.acknowledged.get(),
            stdin_key: self.stdin.key(),
            terminal: self.terminal.as_ref().map(Terminal::info),
            age: self.began.elapsed(),
        }
    }
}

/// While this lives the tree is being ended, and its end is not told: who hears of it can rely on nothing running.
struct Ending<'a>(&'a Process);

impl<'a> Ending<'a> {
    fn of(process: &'a Process) -> Self {
        process.endings.set(process.endings.get() + 1);
        Self(process)
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.endings.set(self.0.endings.get() - 1);
        self.0.room.notify_one();
    }
}

fn signal_number(signal: Signal) -> rustix::process::Signal {
    use rustix::process::Signal as Number;
    match signal {
        Signal::Hangup => Number::HUP,
        Signal::Interrupt => Number::INT,
        Signal::Quit => Number::QUIT,
        Signal::Terminate => Number::TERM,
        Signal::Kill => Number::KILL,
        Signal::User1 => Number::USR1,
        Signal::User2 => Number::USR2,
        Signal::Stop => Number::STOP,
        Signal::Continue => Number::CONT,
    }
}
