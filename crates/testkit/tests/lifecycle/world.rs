//! What the tests share: a site, waits with an end, and the rules that hold for every history.

use std::collections::BTreeMap;
use std::time::Duration;

use session_core::api::{SessionApi, SessionApiExt};
use session_core::event::{Event, EventKind};
use session_core::id::{SessionId, TurnId};
use session_core::manager::ManagerOptions;
use session_core::session::{CreateSession, EventQuery, PromptRequest, SessionFilter};
use session_core::state::{SessionState, StateName};
use session_core::turn::{TurnInfo, TurnOutcome};
use testkit::harness::{ManagerProcess, Site};
use testkit::memory::{AgentTurn, MemoryContainer};
use testkit::model::Gate;

/// How long anything may take that a test waits for. Above the link's own limit of 30 s for an answer.
const PATIENCE: Duration = Duration::from_secs(45);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_late) => panic!("{what}: nothing for {} s", PATIENCE.as_secs()),
    }
}

/// One test's world.
pub(crate) struct World {
    pub(crate) site: Site,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            site: Site::new().unwrap(),
        }
    }

    pub(crate) async fn manager(&self) -> ManagerProcess {
        self.site.manager().await.unwrap()
    }

    pub(crate) async fn manager_of(&self, options: ManagerOptions) -> ManagerProcess {
        self.site.manager_with(options).await.unwrap()
    }

    /// A manager that watches the engine and reconciles.
    pub(crate) async fn supervisor(&self) -> ManagerProcess {
        let options = ManagerOptions {
            supervise: true,
            ..self.site.options()
        };
        self.site.manager_with(options).await.unwrap()
    }

    pub(crate) fn then(&self, turn: AgentTurn) {
        self.site.memory.agents().then(turn);
    }

    /// The next prompt is worked on until the gate is opened, and then answered with this.
    pub(crate) fn hold(&self, answer: &str) -> Gate {
        let gate = Gate::new();
        self.then(AgentTurn::new().say("I am at it.").hold(&gate).say(answer));
        gate
    }

    pub(crate) fn container(&self, session: &SessionId) -> MemoryContainer {
        self.site
            .memory
            .container(session)
            .expect("the session has a container")
    }

    pub(crate) fn prompts(&self) -> Vec<String> {
        self.site
            .memory
            .agents()
            .prompts()
            .into_iter()
            .map(|prompt| prompt.text)
            .collect()
    }

    /// Waits until agents have read so many prompts.
    pub(crate) async fn asked(&self, count: usize) {
        soon(
            "a prompt at the agent",
            self.site.memory.agents().wait_for_prompts(count),
        )
        .await;
    }

    /// Ends every session and looks at what is left: nothing, and a history that makes sense.
    pub(crate) async fn finish(&self, manager: &ManagerProcess) {
        for session in all(manager).await {
            soon("the end of a session", manager.destroy(&session))
                .await
                .unwrap();
            history(manager, &session).await;
        }
        assert_eq!(self.site.leftovers(), Vec::<String>::new(), "left behind");
        assert_eq!(
            self.site.memory.agents().overlaps(),
            0,
            "a prompt was sent while a turn ran"
        );
    }
}

pub(crate) async fn all(manager: &ManagerProcess) -> Vec<SessionId> {
    let filter = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    manager
        .list(filter)
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.id)
        .collect()
}

pub(crate) async fn create(manager: &ManagerProcess) -> SessionId {
    soon("a session", manager.create(CreateSession::default()))
        .await
        .unwrap()
        .id
}

pub(crate) fn prompt(text: &str) -> PromptRequest {
    PromptRequest {
        prompt: text.to_owned(),
        ..PromptRequest::default()
    }
}

pub(crate) async fn send(manager: &ManagerProcess, session: &SessionId, text: &str) -> TurnInfo {
    soon("an accepted prompt", manager.prompt(session, prompt(text)))
        .await
        .unwrap()
}

pub(crate) async fn outcome(manager: &ManagerProcess, turn: &TurnInfo) -> TurnOutcome {
    soon("the end of a turn", manager.wait_turn(turn)).await.unwrap()
}

/// Prompts and waits.
pub(crate) async fn ask(manager: &ManagerProcess, session: &SessionId, text: &str) -> TurnOutcome {
    let turn = send(manager, session, text).await;
    outcome(manager, &turn).await
}

/// The state as recorded, without looking at the engine.
pub(crate) async fn recorded(manager: &ManagerProcess, session: &SessionId) -> SessionState {
    let filter = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    let mut sessions = manager.list(filter).await.unwrap().into_iter();
    sessions
        .find(|info| info.id == *session)
        .expect("the session is listed")
        .state
}

pub(crate) async fn inspected(manager: &ManagerProcess, session: &SessionId) -> SessionState {
    soon("an inspection", manager.inspect(session))
        .await
        .unwrap()
        .info
        .state
}

/// Waits until the record says so by itself.
pub(crate) async fn reaches(
    manager: &ManagerProcess,
    session: &SessionId,
    wanted: StateName,
) -> SessionState {
    let waiting = async {
        loop {
            let state = recorded(manager, session).await;
            if state.name() == wanted {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(wanted.as_str(), waiting).await
}

pub(crate) async fn stored(manager: &ManagerProcess, session: &SessionId) -> Vec<Event> {
    let query = EventQuery {
        after: 0,
        limit: 10_000,
        tail: false,
    };
    manager.event_page(session, query).await.unwrap()
}

/// The rules of every history: numbers without gaps, each turn begun at most once and ended at most once, and nothing of
/// a turn after its end.
pub(crate) async fn history(manager: &ManagerProcess, session: &SessionId) -> Vec<Event> {
    let events = stored(manager, session).await;
    for (event, expected) in events.iter().zip(1..) {
        assert_eq!(event.seq, expected, "the number of an event");
    }
    let mut turns: BTreeMap<TurnId, (u32, u32)> = BTreeMap::new();
    let mut running: Option<TurnId> = None;
    for event in &events {
        let Some(turn) = event.turn else { continue };
        let (started, finished) = turns.entry(turn).or_default();
        assert_eq!(*finished, 0, "something of a turn after its end: {event:?}");
        match &event.kind {
            EventKind::TurnStarted => {
                *started += 1;
                assert_eq!(*started, 1, "a turn began twice");
                assert_eq!(running.replace(turn), None, "two turns ran at once");
            }
            EventKind::TurnFinished { .. } => {
                *finished += 1;
                running.take_if(|running| *running == turn);
            }
            _ => {}
        }
    }
    if recorded(manager, session).await.is_final() {
        for (turn, (_, finished)) in turns {
            assert_eq!(finished, 1, "turn {turn} never ended");
        }
    }
    events
}

/// How often the agent said this, as the events tell.
pub(crate) fn said(events: &[Event], words: &str) -> usize {
    let matches = |event: &&Event| matches!(&event.kind, EventKind::AgentText { text } if text == words);
    events.iter().filter(matches).count()
}
