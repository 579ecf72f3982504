//! One task per terminal owns its process on the link, and shows what it writes to whoever looks.
//!
//! ```text
//!  link ── process ──▶ task ──▶ screen ──▶ viewer, viewer, …   each at a pace of his own
//!               ▲        │ size: the smallest of all viewers
//!               └────────┴────────────── what viewers type
//! ```
//!
//! What the screen keeps stays in the container's spool as well, so that a manager that comes back has it to show. The
//! process does not end with the link, nor with this task.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use session_link::{
    ErrorKind as LinkKind, Link, LinkError, Process, ProcessEvent, ProcessId, ProcessReader, ProcessWriter,
    WindowSize,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::commands::command_exit;
use super::super::{Inner, SessionManager};
use super::screen::{Over, Screen};
use crate::driver::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{SessionId, TerminalId};
use crate::link_error::from_link;
use crate::state::{Operation, SessionState};
use crate::terminal::{REPLAY_BYTES, TerminalInfo, TerminalProgram, TerminalSize};

/// How much is taken from a program in [`PACE_EVERY`]; one that writes faster waits. No screen shows more, and a program
/// that does nothing but write must not keep this process busy.
const PACE: usize = 4 << 20;
const PACE_EVERY: Duration = Duration::from_millis(100);
/// What the screen does not keep any more is acknowledged in steps of this size.
const ACKNOWLEDGE_STEP: u64 = 64 << 10;
/// Before the terminal is looked for again that could not be reached.
const RETRY: Duration = Duration::from_millis(500);

/// A terminal, for everybody who has to do with it.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) session: SessionId,
    pub(super) id: TerminalId,
    pub(super) program: TerminalProgram,
    pub(super) opened_at: Timestamp,
    screen: Mutex<Screen>,
    /// Rises with everything that happens on the screen.
    happened: watch::Sender<u64>,
    /// Viewers came, left or changed: the task looks which size they want.
    seats: Notify,
    /// The way to the program, while there is one.
    writer: watch::Sender<Option<ProcessWriter>>,
}

impl Hub {
    pub(super) fn new(
        session: SessionId,
        id: TerminalId,
        program: TerminalProgram,
        opened_at: Timestamp,
        screen: Screen,
    ) -> Arc<Self> {
        Arc::new(Self {
            session,
            id,
            program,
            opened_at,
            screen: Mutex::new(screen),
            happened: watch::Sender::new(0),
            seats: Notify::new(),
            writer: watch::Sender::new(None),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Screen> {
        // Nothing that is done under this lock leaves the screen half done.
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the screen.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Screen) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the screen and tells everybody.
    fn show<T>(&self, change: impl FnOnce(&mut Screen) -> T) -> T {
        let outcome = change(&mut self.lock());
        self.happened.send_modify(|count| *count = count.wrapping_add(1));
        outcome
    }

    /// Changes who looks, and has the size looked at.
    pub(super) fn seat<T>(&self, change: impl FnOnce(&mut Screen) -> T) -> T {
        let outcome = change(&mut self.lock());
        self.seats.notify_one();
        outcome
    }

    pub(super) fn happened(&self) -> watch::Receiver<u64> {
        self.happened.subscribe()
    }

    pub(super) fn writer(&self) -> watch::Receiver<Option<ProcessWriter>> {
        self.writer.subscribe()
    }

    pub(super) fn is_over(&self) -> bool {
        self.look(|screen| screen.over().is_some())
    }

    /// Waits until nothing follows.
    pub(super) async fn over(&self) {
        let mut happened = self.happened();
        // The sender lives as long as this does.
        while !self.is_over() && happened.changed().await.is_ok() {}
    }

    /// It never ran, or went away.
    pub(super) fn lose(&self, error: &Error) {
        let over = Over::Lost {
            kind: error.kind(),
            message: error.message().to_owned(),
            hint: error.hint().map(str::to_owned),
        };
        self.show(|screen| screen.end_for(over));
    }

    pub(super) fn info(&self) -> TerminalInfo {
        let (size, viewers) = self.look(|screen| (screen.size(), screen.viewers()));
        TerminalInfo {
            id: self.id,
            session: self.session,
            program: self.program.clone(),
            size,
            viewers: u32::try_from(viewers).unwrap_or(u32::MAX),
            opened_at: self.opened_at,
        }
    }
}

/// The id of a terminal's process.
pub(super) fn process_id(id: &TerminalId) -> Result<ProcessId> {
    ProcessId::new(id.to_string()).map_err(|error| from_link("name the terminal", error))
}

pub(super) fn window(size: TerminalSize) -> Result<WindowSize> {
    WindowSize::new(size.rows, size.columns).map_err(|error| {
        from_link("size the terminal", error)
            .with_context("rows", size.rows)
            .with_context("columns", size.columns)
    })
}

type Resizing = Pin<Box<dyn Future<Output = (TerminalSize, Result<(), LinkError>)> + Send>>;

/// The task.
pub(super) struct HubTask {
    pub(super) hub: Arc<Hub>,
    /// Not held: a manager that nobody has any more ends, and this with it.
    pub(super) manager: Weak<Inner>,
    pub(super) stop: CancellationToken,
    /// Whoever decides when this process may leave counts it.
    pub(super) _at_work: TaskTrackerToken,
}

/// The process, while it can be reached.
struct Attached {
    link: Link,
    reader: ProcessReader,
    acknowledged: u64,
    resizing: Option<Resizing>,
    /// The size that was asked for last.
    asked: Option<TerminalSize>,
    taken: usize,
    since: Instant,
}

impl Attached {
    fn new(link: Link, process: Process, hub: &Hub) -> Self {
        let (mut reader, writer) = process.into_split();
        reader.acknowledge_manually();
        hub.writer.send_replace(Some(writer));
        Self {
            link,
            reader,
            acknowledged: 0,
            resizing: None,
            asked: None,
            taken: 0,
            since: Instant::now(),
        }
    }

    /// When more may be taken; at once in general.
    fn next_at(&mut self) -> Option<Instant> {
        if self.since.elapsed() >= PACE_EVERY {
            (self.taken, self.since) = (0, Instant::now());
        }
        (self.taken >= PACE).then(|| self.since + PACE_EVERY)
    }

    /// What the screen keeps is not acknowledged: another manager may want to show it.
    fn acknowledge(&mut self, end: u64) {
        let upto = end.saturating_sub(REPLAY_BYTES as u64);
        if upto < self.acknowledged + ACKNOWLEDGE_STEP {
            return;
        }
        // Not waited for: what cannot be said now is said with the next step.
        if let Some(Ok(())) = self.reader.acknowledge(upto).now_or_never() {
            self.acknowledged = upto;
        }
    }

    fn resize(&mut self, id: &ProcessId, hub: &Hub) {
        let (wanted, now) = hub.look(|screen| (screen.wanted(), screen.size()));
        if self.resizing.is_some() || self.asked.unwrap_or(now) == wanted {
            return;
        }
        let Ok(size) = window(wanted) else { return };
        self.asked = Some(wanted);
        let (link, id) = (self.link.clone(), id.clone());
        self.resizing = Some(Box::pin(async move { (wanted, link.resize(&id, size).await) }));
    }
}

/// What comes of reading.
enum Step {
    On,
    /// The link is gone; the process may be there.
    Lost,
    Over,
}

impl HubTask {
    /// Shows the terminal until its program ends. `attached` is what was just started; without it, it is looked for.
    pub(super) async fn run(self, attached: Option<(Link, Process)>) {
        let Ok(id) = process_id(&self.hub.id) else { return };
        let mut attached = attached.map(|(link, process)| Attached::new(link, process, &self.hub));
        loop {
            let mut now = match attached.take() {
                Some(attached) => attached,
                None => match self.reach(&id).await {
                    Some(attached) => attached,
                    None => break,
                },
            };
            match self.attend(&id, &mut now).await {
                Step::Lost => {}
                Step::On => return,
                Step::Over => {
                    self.give_back().await;
                    // Whatever it left behind ends with it.
                    let _ = now.link.forget(&id).await;
                    break;
                }
            }
            self.hub.writer.send_replace(None);
        }
        self.hub.writer.send_replace(None);
        if let Some(inner) = self.manager.upgrade() {
            inner.terminals.remove(&self.hub);
        }
    }

    /// The conversation is the agent's again.
    async fn give_back(&self) {
        if self.hub.program != TerminalProgram::Agent {
            return;
        }
        let Some(inner) = self.manager.upgrade() else {
            return;
        };
        let driver = SessionManager { inner }.live_driver(&self.hub.session);
        if let Some(driver) = driver {
            // Without its task, the one that comes next finds out by itself.
            let _ = driver.tell(Request::Interface).await;
        }
    }

    /// Reads and resizes for as long as the link holds. `On` when the manager stops.
    async fn attend(&self, id: &ProcessId, now: &mut Attached) -> Step {
        loop {
            now.resize(id, &self.hub);
            let next_at = now.next_at();
            // Every arm may be cancelled by another: the reader hands out each event once, a permit of the seats that is
            // not taken stays, the resizing keeps its progress, and a moment is a moment.
            let step = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Step::On,
                () = self.hub.seats.notified() => Step::On,
                (size, outcome) = finish(&mut now.resizing) => {
                    now.resizing = None;
                    self.resized(size, outcome);
                    Step::On
                }
                event = now.reader.next(), if next_at.is_none() => self.take(now, event),
                () = moment(next_at) => Step::On,
            };
            if !matches!(step, Step::On) {
                return step;
            }
        }
    }

    fn resized(&self, size: TerminalSize, outcome: Result<(), LinkError>) {
        match outcome {
            Ok(()) => self.hub.show(|screen| screen.resize(size)),
            Err(error) => {
                tracing::debug!(terminal = %self.hub.id, %error, "the terminal did not get its size");
            }
        }
    }

    fn take(&self, now: &mut Attached, event: Result<Option<ProcessEvent>, LinkError>) -> Step {
        match event {
            Ok(Some(ProcessEvent::Output { bytes, .. })) => {
                now.taken += bytes.len();
                let end = self.hub.show(|screen| {
                    screen.write(&bytes);
                    screen.end()
                });
                now.acknowledge(end);
                Step::On
            }
            Ok(Some(ProcessEvent::Gap { to, .. })) => {
                self.hub.show(|screen| screen.lose(to));
                Step::On
            }
            Ok(Some(ProcessEvent::Exited(report))) => {
                self.hub.show(|screen| {
                    let exit = command_exit(&report, screen.end());
                    screen.end_for(Over::Exited(exit));
                });
                Step::Over
            }
            Ok(None) => Step::Lost,
            Err(error) => {
                tracing::debug!(terminal = %self.hub.id, %error, "the terminal's output broke off");
                Step::Lost
            }
        }
    }

    /// Finds the process again, however long that takes; `None` when it is gone or the manager stops.
    async fn reach(&self, id: &ProcessId) -> Option<Attached> {
        loop {
            let outcome = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                // Broken off anywhere: a link that is made is others' as well, and a reader that is dropped detaches.
                outcome = self.attach(id) => outcome,
            };
            match outcome {
                Ok(Some(attached)) => return Some(attached),
                Ok(None) => {}
                Err(error) => {
                    self.hub.lose(&error);
                    return None;
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// One attempt; an error when there is nothing to be hoped for.
    async fn attach(&self, id: &ProcessId) -> Result<Option<Attached>> {
        let Some(inner) = self.manager.upgrade() else {
            let message = "the manager is gone";
            return Err(Error::new(ErrorKind::Cancelled, "look for the terminal", message));
        };
        let manager = SessionManager { inner };
        let record = match manager.record(&self.hub.session, "look for the terminal").await {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            Err(_) => return Ok(None),
        };
        if record.info.state == SessionState::Paused {
            return Ok(None);
        }
        record.info.state.permits(Operation::Command)?;
        let Ok((link, _)) = manager.driver(&record).link_for_programs(&record).await else {
            return Ok(None);
        };
        let at = self.hub.look(Screen::end);
        match link.attach(id, at).await {
            Ok(process) => Ok(Some(Attached::new(link, process, &self.hub))),
            Err(error) if error.kind() == LinkKind::NoSuchProcess => Err(Error::new(
                ErrorKind::ContainerLost,
                "look for the terminal",
                "it ended while nobody looked",
            )),
            Err(_) => Ok(None),
        }
    }
}

async fn finish(resizing: &mut Option<Resizing>) -> (TerminalSize, Result<(), LinkError>) {
    match resizing {
        Some(resizing) => resizing.await,
        None => std::future::pending().await,
    }
}

async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
