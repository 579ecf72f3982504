//! The owner of one instance of a server: it alone starts it, watches it, and ends it.
//!
//! Everything that happens becomes an [`Event`], one at a time; [`Life`] says what may be done about it. Long work
//! (starting, listing, asking whether it lives) runs beside as futures of the owner's own, so that nothing of it is left
//! when the owner ends.

mod tells;
mod wants;

use std::sync::Arc;
use std::time::Duration;

use mcp_catalog::ServerDefinition;
use session_core::id::SessionId;
use session_core::mcp::ServerName;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::errands::{Done, Errand};
use super::hub::Hub;
use super::instance::{Command, Outlets, Wiring, millis};
use super::live::{Live, Word};
use super::shelf::Shelf;
use super::start::{Starting, Up};
use super::state::{Life, Pace, Wanted};
use crate::mcp::call::{Failure, FailureCause};

/// Nothing is looked at more often than this.
const SOON: Duration = Duration::from_millis(10);
/// How often it is looked whether a server that is to be stopped still works.
const DRAINING: Duration = Duration::from_millis(100);
/// Lists are asked for again at most this often, and less often while they keep changing: each time is a file to write.
pub(super) const RELIST: Duration = Duration::from_millis(250);
const MAX_RELIST: Duration = Duration::from_secs(10);

const TAKEN_AWAY: &str = "the operator has taken it away";

type Reply = oneshot::Sender<Result<Arc<Live>, Failure>>;

enum Running {
    Nothing,
    Starting(Starting),
    Up(Box<Up>),
}

/// What happens.
enum Event {
    Asked(Command),
    /// Nobody holds a handle any more.
    Forgotten,
    Started(Box<Result<Up, Failure>>),
    Ended(Failure),
    Word(Word),
    Stale,
    Done(Done),
    Time,
}

/// See the module.
pub(crate) struct Keeper {
    name: ServerName,
    owner: Option<SessionId>,
    definition: Arc<ServerDefinition>,
    wiring: Arc<Wiring>,
    shelf: Arc<Shelf>,
    hub: Arc<Hub>,
    queue: mpsc::Receiver<Command>,
    outlets: Outlets,
    life: Life,
    running: Running,
    waiting: Vec<Reply>,
    /// Why it failed last.
    failure: Option<Failure>,
    /// Its definition is no longer the one under which it runs: it is stopped when nobody calls.
    outdated: bool,
}

impl Keeper {
    pub(crate) fn new(
        (name, owner, definition, gone): (ServerName, Option<SessionId>, Arc<ServerDefinition>, bool),
        wiring: Arc<Wiring>,
        (shelf, hub): (Arc<Shelf>, Arc<Hub>),
        queue: mpsc::Receiver<Command>,
        outlets: Outlets,
    ) -> Self {
        let limits = &wiring.limits;
        let pace = Pace {
            backoff: limits.backoff,
            max_backoff: limits.max_backoff,
            max_failures: limits.max_failures.max(1),
        };
        let mut keeper = Self {
            name,
            owner,
            definition,
            shelf,
            hub,
            queue,
            outlets,
            life: Life::new(pace),
            running: Running::Nothing,
            waiting: Vec::new(),
            failure: None,
            outdated: false,
            wiring,
        };
        if gone {
            keeper.taken_away();
        }
        keeper
    }

    /// Owns the server until it is told to end.
    pub(crate) async fn run(mut self) {
        self.publish();
        loop {
            match self.next().await {
                Event::Asked(Command::End) | Event::Forgotten => break,
                Event::Asked(command) => self.obey(command).await,
                Event::Started(outcome) => self.started(*outcome).await,
                Event::Ended(failure) => self.ended(failure).await,
                Event::Word(word) => self.heed(word),
                Event::Stale => self.relist(),
                Event::Done(done) => self.done(done).await,
                Event::Time => self.look().await,
            }
            self.publish();
        }
        self.queue.close();
        self.stop(FailureCause::Unavailable, "the session or the gateway ends")
            .await;
    }

    /// Every arm may be dropped: what was received is returned, and everything else is kept where it is.
    async fn next(&mut self) -> Event {
        let timer = self.timer();
        let (hub, queue) = (&self.hub, &mut self.queue);
        let asked = async { queue.recv().await.map_or(Event::Forgotten, Event::Asked) };
        let time = async {
            match timer {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        match &mut self.running {
            Running::Nothing => tokio::select! {
                event = asked => event,
                () = time => Event::Time,
            },
            Running::Starting(starting) => tokio::select! {
                event = asked => event,
                outcome = starting => Event::Started(Box::new(outcome)),
                () = time => Event::Time,
            },
            Running::Up(up) => tokio::select! {
                failure = &mut up.ended => Event::Ended(failure),
                event = asked => event,
                Some(word) = up.words.recv() => Event::Word(word),
                done = up.errands.next() => Event::Done(done),
                () = hub.stale.notified() => Event::Stale,
                () = time => Event::Time,
            },
        }
    }

    /// When something is due.
    fn timer(&self) -> Option<Instant> {
        match &self.running {
            Running::Starting(_) => None,
            Running::Nothing if !self.is_wanted() => None,
            Running::Nothing => match self.life.wanted(Instant::now()) {
                Wanted::Wait(until) => Some(until),
                Wanted::Start => Some(Instant::now()),
                _ => None,
            },
            Running::Up(up) => Some(if self.outdated {
                Instant::now() + DRAINING
            } else {
                up.next_look(self.wiring.limits.health_interval)
            }),
        }
    }

    /// Whether somebody waits for it, or has subscribed to something of it.
    fn is_wanted(&self) -> bool {
        !self.waiting.is_empty() || self.hub.is_listened_to()
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Use(reply) => self.want(reply),
            Command::Define(definition) => self.define(definition).await,
            Command::Judge => self.judge().await,
            Command::Listen => {
                if let Running::Up(up) = &mut self.running {
                    up.errands.listen(&up.live, &self.hub);
                }
            }
            Command::Yield(reply) => {
                if let Running::Up(up) = &self.running
                    && !self.hub.is_listened_to()
                    && up.live.calls.close_if_idle(Duration::ZERO).is_ok()
                {
                    self.stop(FailureCause::Unavailable, "others need its place")
                        .await;
                }
                let _ = reply.send(());
            }
            // Handled where the loop ends.
            Command::End => {}
        }
    }

    fn heed(&mut self, word: Word) {
        let Running::Up(up) = &mut self.running else {
            return;
        };
        match word {
            Word::Proved => self.life.proved(),
            Word::Abandoned(id) => up.errands.take_back(&up.live, id),
            Word::Suspect => up
                .errands
                .probe(&up.live, self.wiring.limits.health_timeout, true),
        }
    }

    /// Lists changed: they are asked for again, but not too often.
    fn relist(&mut self) {
        let Running::Up(up) = &mut self.running else {
            return;
        };
        up.relist_at = None;
        // One at a time: the older answer must not come last. What changes meanwhile is asked for behind it.
        if up.errands.is_listing() || !self.hub.has_changed() {
            return;
        }
        let (now, due) = (Instant::now(), up.relisted + up.relist_pause);
        if now < due {
            up.relist_at = Some(due);
            return;
        }
        let was_quiet = now - up.relisted >= up.relist_pause * 4;
        up.relist_pause = if was_quiet {
            RELIST
        } else {
            (up.relist_pause * 2).min(MAX_RELIST)
        };
        up.relisted = now;
        let errand = Errand::list(
            &up.live,
            &self.shelf,
            &self.definition,
            self.hub.take_changed(),
            &self.wiring.limits,
        );
        up.errands.list(errand);
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Listed(offer) => {
                if let Some(offer) = offer {
                    self.offer(offer);
                }
                self.relist();
            }
            Done::Dead(why) => {
                let failure = self.failed(FailureCause::Silent, why);
                self.ended(failure).await;
            }
        }
    }

    /// Something may be due.
    async fn look(&mut self) {
        let limits = &self.wiring.limits;
        let Running::Up(up) = &mut self.running else {
            self.waiting.retain(|waiting| !waiting.is_closed());
            if self.is_wanted() {
                self.begin(Instant::now());
            }
            return;
        };
        up.looked = Instant::now();
        let relist = up.relist_at.is_some_and(|due| up.looked >= due);
        if up.since.elapsed() >= limits.max_backoff {
            self.life.proved();
        }
        let calls = &up.live.calls;
        if calls.under_way() > 0 && calls.silent() >= limits.health_interval {
            up.errands.probe(&up.live, limits.health_timeout, false);
        }
        let idle = millis(self.definition.times.idle_ms);
        let stop_after = if self.outdated { Duration::ZERO } else { idle };
        if !self.outdated && self.hub.is_listened_to() {
            up.idle_at = Instant::now() + idle;
        } else {
            match calls.close_if_idle(stop_after) {
                Ok(()) => return self.stop(FailureCause::Unavailable, "it had nothing to do").await,
                Err(left) => up.idle_at = Instant::now() + left.unwrap_or(idle).max(SOON),
            }
        }
        if relist {
            self.relist();
        }
    }
}
