//! A client that does what clients do, through the socket, and gives up nothing that it began: whatever breaks is asked again
//! with the same key.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use http_client::HttpSessions;
use session_core::api::SessionApi as _;
use session_core::command::{CommandEvent, CommandRequest, OnDisconnect};
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::{Event, EventKind};
use session_core::id::{SessionId, TurnId};
use session_core::lifetime::{Lifetime, OnInterrupt};
use session_core::session::{CreateSession, PromptRequest, WorkspaceSource};
use session_core::state::SessionState;
use session_core::turn::{TurnInfo, TurnStatus};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::dice::Dice;
use crate::engine::{EngineKind, answer_to, counted, task, tell_ledger};
use crate::model::{Prompt, Told};
use crate::points::Favour;
use crate::trouble::Trouble;
use crate::world::Weather;

/// Whatever is asked for has happened by then, however often the daemon dies meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(4);
/// A client has better things to do than to wait longer for a session while daemons die.
const HURRY: Duration = Duration::from_secs(3);
/// A session that is interrupted for so long may have been given up.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// No session of a campaign lives for an hour. One that ends by itself was misled by the clock.
const HOUR_MS: u64 = 60 * 60 * 1000;
/// How the keys of some sessions end that have a copy.
const COPIED: &str = "-7";
/// The label by which sessions of one key are found again.
pub(crate) const KEY_LABEL: &str = "chaos";

/// What all clients of a world share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) api: HttpSessions,
    pub(crate) trouble: Trouble,
    pub(crate) engine: EngineKind,
    /// No further session is begun.
    pub(crate) ending: AtomicBool,
    pub(crate) counts: Counts,
    pub(crate) weather: Weather,
    /// Whether clients run commands.
    pub(crate) commands: bool,
    /// A directory of the host of which some sessions have a copy.
    pub(crate) project: PathBuf,
    /// What is done more often for now.
    pub(crate) favour: Mutex<Favour>,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sessions: AtomicU64,
    pub(crate) broken_creations: AtomicU64,
    pub(crate) prompts: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) retries: AtomicU64,
}

/// Where clocks jump, sessions have limits that only a wrong clock can find reached.
fn lifetime(weather: Weather) -> Lifetime {
    let limit = (weather == Weather::Clocks).then_some(HOUR_MS);
    Lifetime {
        idle_ms: limit,
        max_ms: limit,
        lease_ms: limit,
        keep_on_failure: false,
    }
}

pub(crate) fn labels(key: &str) -> BTreeMap<String, String> {
    [(KEY_LABEL.to_owned(), key.to_owned())].into()
}

/// One client, which works on one session after the other.
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) dice: Dice,
    /// Keys of sessions that took long to make, to be asked for again in the end.
    pub(crate) left: Vec<String>,
}

/// A session that has ended, as its client knows it.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) session: SessionId,
    pub(crate) key: String,
    pub(crate) told: Told,
    /// What its own ledger told before it was ended, where it has one.
    pub(crate) ledger: String,
}

impl Client {
    /// Works until the world ends.
    pub(crate) async fn work(mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        for number in 0_u64.. {
            if self.shared.ending.load(Ordering::Relaxed) || self.shared.trouble.any() {
                break;
            }
            let mut key = format!("{}-{number}", self.name);
            if self.shared.favours(Favour::Copies) {
                key.push_str(COPIED);
            }
            let fails = self.dice.once_in(6) || self.shared.favours(Favour::Failures);
            if self.shared.engine == EngineKind::Memory && fails {
                let made = self.shared.impossible(&format!("{key}-never")).await;
                made.unwrap_or_else(|error| {
                    self.shared.trouble.tell(format!("session {key}-never: {error}"))
                });
            }
            finished.extend(self.one(&key, Some(HURRY)).await);
        }
        for key in std::mem::take(&mut self.left) {
            finished.extend(self.one(&key, None).await);
        }
        finished
    }

    async fn one(&mut self, key: &str, hurry: Option<Duration>) -> Option<Finished> {
        match self.session(key, hurry).await {
            Ok(session) => session,
            Err(error) => {
                self.shared.trouble.tell(format!("session {key}: {error}"));
                None
            }
        }
    }

    /// A whole session. `None` when it could not be made and says so, or when it is left for later.
    async fn session(&mut self, key: &str, hurry: Option<Duration>) -> Result<Option<Finished>> {
        let request = CreateSession {
            idempotency_key: Some(key.to_owned()),
            on_interrupt: if self.shared.weather == Weather::Restarts {
                OnInterrupt::Resume
            } else {
                OnInterrupt::Stop
            },
            lifetime: lifetime(self.shared.weather),
            labels: labels(key),
            workspace: self.workspace(key),
            ..CreateSession::default()
        };
        let making = self
            .shared
            .insist("create", || self.shared.api.create(request.clone()));
        let Ok(made) = tokio::time::timeout(hurry.unwrap_or(PATIENCE), making).await else {
            self.left.push(key.to_owned());
            return Ok(None);
        };
        let session = match made {
            Ok(info) => info.id,
            // It says that it failed, which is an answer: nothing of it may be left.
            Err(error) if broken_off(&error) => {
                self.shared
                    .counts
                    .broken_creations
                    .fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.shared.counts.sessions.fetch_add(1, Ordering::Relaxed);
        let follower = follow(Arc::clone(&self.shared), session);
        let person = self.shared.person(session);
        let mut told = Told {
            shaken: self.shared.weather.shakes(),
            ..Told::default()
        };
        let worked = self.tasks(key, &session, &mut told).await;
        let ledger = self.ledger(&session).await;
        let destroyed = self
            .shared
            .insist("destroy", || self.shared.api.destroy(&session))
            .await;
        drop(person);
        told.events = follower.await.unwrap_or_default();
        worked?;
        destroyed?;
        for prompt in &mut told.prompts {
            prompt.last = self.shared.turn(&session, &prompt.first.id).await?;
        }
        Ok(Some(Finished {
            session,
            key: key.to_owned(),
            told,
            ledger: ledger?,
        }))
    }

    /// Of a key alone, since it is asked for again with the same.
    fn workspace(&self, key: &str) -> WorkspaceSource {
        if key.ends_with(['3', '7']) {
            WorkspaceSource::Copy {
                path: self.shared.project.clone(),
            }
        } else {
            WorkspaceSource::Empty
        }
    }

    async fn tasks(&mut self, key: &str, session: &SessionId, told: &mut Told) -> Result<()> {
        for number in 0..=self.dice.below(4) {
            let name = task(
                &format!("{key}-{number}"),
                self.dice.time(self.shared.engine.pace().work),
            );
            let commands = self.dice.once_in(3) || self.shared.favours(Favour::Commands);
            if commands && self.shared.commands {
                told.commands.push(name.clone());
                self.command(session, &name).await?;
            } else {
                let first = self.prompt(session, &name).await?;
                told.prompts.push(Prompt {
                    text: name,
                    last: first.clone(),
                    first,
                    interrupted: false,
                });
            }
            if self.dice.once_in(4) || self.shared.favours_a_chore() {
                self.chore(&format!("{key}-{number}"), session, told).await?;
            }
            if self.dice.once_in(2) {
                self.wait(session, told).await?;
            }
            if self.dice.once_in(6) || self.shared.favours(Favour::Rests) {
                self.rest(session, told).await?;
            }
        }
        told.cut = self.dice.once_in(5);
        if !told.cut {
            self.wait(session, told).await?;
        }
        Ok(())
    }

    async fn prompt(&self, session: &SessionId, text: &str) -> Result<TurnInfo> {
        let request = PromptRequest {
            prompt: text.to_owned(),
            idempotency_key: Some(text.replace(' ', "-")),
            ..PromptRequest::default()
        };
        let turn = self
            .shared
            .insist("prompt", || self.shared.api.prompt(session, request.clone()))
            .await?;
        self.shared.counts.prompts.fetch_add(1, Ordering::Relaxed);
        Ok(turn)
    }

    /// Runs a command to its end, coming back to it as often as it takes.
    async fn command(&self, session: &SessionId, name: &str) -> Result<()> {
        let mut request = CommandRequest::new(counted(self.shared.engine, name));
        request.on_disconnect = OnDisconnect::Detach;
        request.idempotency_key = Some(name.replace(' ', "-"));
        let output = Output::default();
        let ran = self
            .shared
            .insist("run a command", || {
                self.shared.run(session, request.clone(), &output)
            })
            .await;
        // It may be gone with its container.
        if !self.shared.weather.shakes() {
            ran?;
        }
        let output = output.text();
        self.shared.counts.commands.fetch_add(1, Ordering::Relaxed);
        let wanted = format!("{}\n", answer_to(name));
        if output != wanted && !self.shared.weather.shakes() {
            self.shared
                .trouble
                .tell(format!("the command {name:?} said {output:?} and not {wanted:?}"));
        }
        Ok(())
    }

    async fn ledger(&self, session: &SessionId) -> Result<String> {
        let Some(argv) = tell_ledger(self.shared.engine) else {
            return Ok(String::new());
        };
        let mut request = CommandRequest::new(argv);
        request.on_disconnect = OnDisconnect::Detach;
        let read = || async {
            let output = Output::default();
            self.shared.run(session, request.clone(), &output).await?;
            Ok(output.text())
        };
        self.shared.insist("read the ledger", read).await
    }

    /// Waits until every turn has ended.
    async fn wait(&self, session: &SessionId, told: &mut Told) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for prompt in &mut told.prompts {
            while !prompt.last.status.is_ended() {
                if Instant::now() > deadline {
                    return Err(
                        Error::new(ErrorKind::Internal, "wait for a turn", "it does not end")
                            .with_context("turn", prompt.first.id)
                            .with_context("session", session),
                    );
                }
                let now = self.shared.turn(session, &prompt.first.id).await?;
                if rank(now.status) < rank(prompt.last.status) {
                    self.shared.trouble.tell(format!(
                        "turn {} went back from {:?} to {:?}",
                        now.id, prompt.last.status, now.status
                    ));
                }
                prompt.last = now;
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Pauses and resumes, which needs a session at rest.
    async fn rest(&self, session: &SessionId, told: &mut Told) -> Result<()> {
        self.wait(session, told).await?;
        self.shared
            .insist("pause", || self.shared.api.pause(session))
            .await?;
        self.shared
            .insist("resume", || self.shared.api.resume(session))
            .await
    }
}

impl Shared {
    /// Asks until there is an answer.
    pub(crate) async fn insist<T, F>(&self, what: &'static str, mut ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout(PATIENCE, ask()).await {
                Ok(Err(error)) if self.passes(&error) && Instant::now() < deadline => {
                    self.counts.retries.fetch_add(1, Ordering::Relaxed);
                    sleep(PAUSE).await;
                }
                Ok(answer) => return answer,
                Err(_) => {
                    return Err(Error::new(ErrorKind::Internal, what, "there is no answer"));
                }
            }
        }
    }

    /// Whether the same may be asked again and mean the same.
    fn passes(&self, error: &Error) -> bool {
        let weather = match self.weather {
            Weather::Calm | Weather::Storms | Weather::Clocks => false,
            // It comes back, without the commands that ran.
            Weather::Restarts => {
                matches!(error.kind(), ErrorKind::StateConflict | ErrorKind::ContainerLost)
                    && !["was run before", "was opened before"]
                        .iter()
                        .any(|done| error.to_string().contains(done))
            }
            Weather::FullDisk => error.kind() == ErrorKind::HostIo,
        };
        weather || error.is_retryable() || error.kind() == ErrorKind::LinkLost
    }

    pub(crate) fn favours(&self, what: Favour) -> bool {
        *self.favour.lock().unwrap_or_else(PoisonError::into_inner) == what
    }

    fn favours_a_chore(&self) -> bool {
        [Favour::Files, Favour::Terminals, Favour::Interruptions]
            .into_iter()
            .any(|chore| self.favours(chore))
    }

    /// Where engines restart, somebody who resumes a session that is not brought back any more: attempts are given up after
    /// some, and daemons that are killed and engines that go away again use them up. Goes when it is dropped.
    fn person(self: &Arc<Self>, session: SessionId) -> AbortOnDropHandle<()> {
        let shared = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            if shared.weather != Weather::Restarts {
                return;
            }
            loop {
                sleep(GIVEN_UP).await;
                let looked = shared.api.session(&session).await;
                if looked.is_ok_and(|info| matches!(info.state, SessionState::Interrupted { .. })) {
                    // One that is brought back at this moment refuses, and whatever else it is, the next look sees.
                    let _ = shared.api.resume(&session).await;
                }
            }
        }))
    }

    async fn turn(&self, session: &SessionId, turn: &TurnId) -> Result<TurnInfo> {
        self.insist("look at a turn", || self.api.turn(session, turn))
            .await
    }

    /// One attempt at a command. What was read before is not told again: each attempt adds to what the others heard.
    async fn run(&self, session: &SessionId, request: CommandRequest, output: &Output) -> Result<()> {
        let mut running = self.api.command(session, request).await?;
        while let Some(event) = running.events.next().await {
            match event? {
                CommandEvent::Output { offset, bytes, .. } => output.add(offset, &bytes),
                CommandEvent::Gap { .. } => {}
                CommandEvent::Exited(_) => return Ok(()),
            }
        }
        Err(Error::new(
            ErrorKind::LinkLost,
            "read a command",
            "its stream ended before it did",
        ))
    }
}

/// What a command wrote, by position.
#[derive(Debug, Default)]
struct Output(Mutex<BTreeMap<u64, u8>>);

impl Output {
    fn add(&self, offset: u64, bytes: &[u8]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend((offset..).zip(bytes.iter().copied()));
    }

    fn text(&self) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&known.values().copied().collect::<Vec<_>>()).into_owned()
    }
}

/// Follows the events of a session to its last one, by cursor.
fn follow(shared: Arc<Shared>, session: SessionId) -> JoinHandle<Vec<Event>> {
    tokio::spawn(async move {
        let mut seen: Vec<Event> = Vec::new();
        let deadline = Instant::now() + PATIENCE * 4;
        while Instant::now() < deadline && !shared.trouble.any() {
            let after = seen.last().map_or(0, |event| event.seq);
            if let Ok(mut events) = shared.api.events(&session, after).await {
                while let Some(Ok(event)) = events.next().await {
                    shared.counts.events.fetch_add(1, Ordering::Relaxed);
                    let last = matches!(
                        &event.kind,
                        EventKind::StateChanged {
                            to: SessionState::Destroyed
                        }
                    );
                    seen.push(event);
                    if last {
                        return seen;
                    }
                }
            }
            sleep(PAUSE).await;
        }
        shared
            .trouble
            .tell(format!("the events of {session} do not come to an end"));
        seen
    })
}

/// The session was not made and says so. Its key is used up.
pub(crate) fn broken_off(error: &Error) -> bool {
    error
        .hint()
        .is_some_and(|hint| hint.contains("another idempotency key"))
}

fn rank(status: TurnStatus) -> u8 {
    match status {
        TurnStatus::Queued => 0,
        TurnStatus::Running => 1,
        TurnStatus::Succeeded | TurnStatus::Failed | TurnStatus::Interrupted => 2,
    }
}
