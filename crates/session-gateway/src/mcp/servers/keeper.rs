//! The owner of one instance of a server: it alone starts it, watches it, and ends it.
//!
//! Everything that happens becomes an [`Event`], one at a time; [`Life`] says what may be done about it. Long work
//! (starting, listing, asking whether it lives) runs beside as futures of the owner's own, so that nothing of it is left
//! when the owner ends.

use std::sync::Arc;
use std::time::Duration;

use mcp_catalog::ServerDefinition;
use session_core::id::SessionId;
use session_core::mcp::{ServerName, ServerState};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::errands::{Done, Errand};
use super::hub::{Change, Hub};
use super::instance::{Command, Outlets, Told, Wiring, millis, status};
use super::live::{Live, Word};
use super::offer::Offer;
use super::shelf::Shelf;
use super::start::{Order, Starting, Up, start};
use super::state::{Fault, Life, Pace, Wanted};
use crate::mcp::call::{Failure, FailureCause};

/// Who wants a server that is held off for less than this waits; others are refused at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// Calls that wait for a start.
const MAX_WAITING: usize = 1024;
/// Nothing is looked at more often than this.
const SOON: Duration = Duration::from_millis(10);
/// How often it is looked whether a server that is to be stopped still works.
const DRAINING: Duration = Duration::from_millis(100);
/// Lists are asked for again at most this often.
const RELIST: Duration = Duration::from_millis(250);

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
                drop(reply.send(()));
            }
            // Handled where the loop ends.
            Command::End => {}
        }
    }

    /// Somebody wants the server.
    fn want(&mut self, reply: Reply) {
        let now = Instant::now();
        match self.life.wanted(now) {
            Wanted::Use => match &self.running {
                Running::Up(up) if !up.live.has_ended() => drop(reply.send(Ok(Arc::clone(&up.live)))),
                _ => self.wait(reply),
            },
            Wanted::Start => {
                self.wait(reply);
                self.begin(now);
            }
            Wanted::Join => self.wait(reply),
            Wanted::Wait(until) if until - now <= PATIENCE => self.wait(reply),
            Wanted::Wait(until) => drop(reply.send(Err(self.held_off(until - now)))),
            Wanted::Never => {
                drop(reply.send(Err(self.failed(FailureCause::Unavailable, TAKEN_AWAY))));
            }
        }
    }

    fn wait(&mut self, reply: Reply) {
        self.waiting.retain(|waiting| !waiting.is_closed());
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(reply);
        } else {
            drop(reply.send(Err(
                self.failed(FailureCause::Unavailable, "too many wait for it"),
            )));
        }
    }

    fn failed(&self, cause: FailureCause, detail: impl Into<String>) -> Failure {
        Failure {
            server: self.name.clone(),
            cause,
            detail: detail.into(),
        }
    }

    /// What is said to those who come while it is held off: what happened last, and when to come again.
    fn held_off(&self, left: Duration) -> Failure {
        let seconds = left.as_secs() + 1;
        match &self.failure {
            Some(last) if last.cause == FailureCause::NeedsLogin => last.clone(),
            Some(last) => self.failed(
                FailureCause::HeldOff,
                format!(
                    "it failed {} times in a row and is tried again in {seconds} s; last: {}",
                    self.life.failures(),
                    last.detail
                ),
            ),
            None => self.failed(FailureCause::HeldOff, format!("it is tried again in {seconds} s")),
        }
    }

    fn begin(&mut self, now: Instant) {
        if !self.life.start(now) {
            return;
        }
        self.outdated = false;
        let order = Order {
            name: self.name.clone(),
            owner: self.owner,
            definition: Arc::clone(&self.definition),
            wiring: Arc::clone(&self.wiring),
            shelf: Arc::clone(&self.shelf),
            hub: Arc::clone(&self.hub),
        };
        self.running = Running::Starting(start(order));
    }

    async fn started(&mut self, outcome: Result<Up, Failure>) {
        let up = match outcome {
            Ok(up) => up,
            Err(failure) => {
                self.running = Running::Nothing;
                return self.fell(failure);
            }
        };
        self.life.started();
        self.failure = None;
        self.offer(up.offer.clone());
        let live = Arc::clone(&up.live);
        self.running = Running::Up(Box::new(up));
        self.outlets.live.send_replace(Some(Arc::clone(&live)));
        for reply in self.waiting.drain(..) {
            drop(reply.send(Ok(Arc::clone(&live))));
        }
        if let Running::Up(up) = &mut self.running {
            up.errands.listen(&live, &self.hub);
        }
    }

    /// It ended by itself, or has to be ended because it does not answer.
    async fn ended(&mut self, failure: Failure) {
        let Running::Up(up) = std::mem::replace(&mut self.running, Running::Nothing) else {
            return;
        };
        if up.live.calls.is_proved() || up.since.elapsed() >= self.wiring.limits.max_backoff {
            self.life.proved();
        }
        self.outlets.live.send_replace(None);
        up.end(failure.clone(), self.wiring.limits.stop_grace).await;
        let waiting = std::mem::take(&mut self.waiting);
        self.fell(failure);
        // Who came meanwhile has not been let down yet.
        for reply in waiting {
            self.want(reply);
        }
    }

    /// It failed, and whoever waits is told.
    fn fell(&mut self, failure: Failure) {
        tracing::info!(server = %self.name, cause = ?failure.cause, detail = failure.detail, "an MCP server failed");
        let fault = match failure.cause {
            FailureCause::NeedsLogin => Fault::Login,
            _ => Fault::Failure,
        };
        self.life.failed(fault, Instant::now());
        self.failure = Some(failure.clone());
        for reply in self.waiting.drain(..) {
            drop(reply.send(Err(failure.clone())));
        }
    }

    /// Ends what runs, as it should be.
    async fn stop(&mut self, cause: FailureCause, why: &'static str) {
        let failure = self.failed(cause, why);
        self.outlets.live.send_replace(None);
        for reply in self.waiting.drain(..) {
            drop(reply.send(Err(failure.clone())));
        }
        match std::mem::replace(&mut self.running, Running::Nothing) {
            Running::Up(up) => {
                if up.live.calls.is_proved() {
                    self.life.proved();
                }
                up.end(failure, self.wiring.limits.stop_grace).await;
            }
            Running::Starting(starting) => starting.give_up(self.wiring.limits.stop_grace).await,
            Running::Nothing => {}
        }
        self.life.stopped();
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
        let due = up.relisted + RELIST;
        if Instant::now() < due {
            up.relist_at = Some(due);
            return;
        }
        up.relist_at = None;
        up.relisted = Instant::now();
        let lists = self.hub.take_changed();
        if lists != 0 {
            let errand = Errand::list(
                &up.live,
                &self.shelf,
                &self.definition,
                lists,
                &self.wiring.limits,
            );
            up.errands.push(errand);
        }
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Listed(offer) => self.offer(offer),
            Done::Dead(why) => {
                let failure = self.failed(FailureCause::Silent, why);
                self.ended(failure).await;
            }
        }
    }

    /// What the server offers is this now.
    fn offer(&mut self, offer: Arc<Offer>) {
        let before = self.outlets.offer.borrow().clone();
        if before.as_ref().is_some_and(|before| **before == *offer) {
            return;
        }
        self.outlets.offer.send_replace(Some(Arc::clone(&offer)));
        // Who listens before it was known wants to know that it is.
        let before = before.unwrap_or_default();
        let (tools, prompts, resources) = offer.differs(&before);
        for (changed, change) in [
            (tools, Change::ToolsChanged),
            (prompts, Change::PromptsChanged),
            (resources, Change::ResourcesChanged),
        ] {
            if changed {
                self.hub.tell(&change);
            }
        }
    }

    /// Looks at what is known with the approvals as they are now.
    async fn judge(&mut self) {
        let (shelf, definition) = (Arc::clone(&self.shelf), Arc::clone(&self.definition));
        let judged = tokio::task::spawn_blocking(move || shelf.offer(&definition)).await;
        if let Ok(Some(offer)) = judged {
            self.offer(Arc::new(offer));
        }
    }

    async fn define(&mut self, definition: Option<Arc<ServerDefinition>>) {
        let Some(definition) = definition else {
            self.stop(FailureCause::Unavailable, TAKEN_AWAY).await;
            return self.taken_away();
        };
        let same = *definition == *self.definition;
        if !same || self.life.state() == ServerState::Removed {
            // What was known of its failures is of another.
            self.life.declared();
            self.failure = None;
        }
        if same {
            return;
        }
        self.outdated |= definition.transport != self.definition.transport;
        if !self.outdated {
            self.shelf.redefined(&definition);
        }
        self.definition = Arc::clone(&definition);
        self.outlets.definition.send_replace(definition);
        self.judge().await;
    }

    fn taken_away(&mut self) {
        self.life.removed();
        self.failure = Some(self.failed(FailureCause::Unavailable, TAKEN_AWAY));
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

    fn publish(&self) {
        let offer = self.outlets.offer.borrow().clone();
        let mut status = status(&self.name, offer.as_deref());
        status.state = self.life.state();
        status.failures = self.life.failures();
        let warning = offer.and_then(|offer| offer.warning.clone());
        status.reason = self
            .failure
            .as_ref()
            .map(|failure| failure.detail.clone())
            .or(warning);
        let until = self.life.held_off();
        self.outlets.status.send_if_modified(|told| {
            let news = told.status != status || told.until != until;
            *told = Told { status, until };
            news
        });
    }
}
