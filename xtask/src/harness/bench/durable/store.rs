//! What it costs to remember: events put into the store, and read from it again.

use std::time::{Duration, Instant};

use session_core::api::SessionApi;
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::{CreateSession, EventQuery};
use session_core::state_dir::StateDir;
use session_core::store::{Batch, Store};
use testkit::harness::Site;
use tokio::task::JoinSet;
use xtask::error::{Context, Error, Result};

use super::super::Lab;
use super::super::cases::Figures;
use super::super::pairs::{Side, repeat};

/// Who append at once, and how many events each of them; every event is a commit that somebody waits for.
const WRITERS: u32 = 256;
const EACH: u32 = 100;
/// How many events are read again.
const EVENTS: usize = 1000;
/// The length of what an agent said.
const TEXT: usize = 200;

/// An event's share of the time until all of them are on disk.
pub(in super::super) async fn append(lab: &mut Lab) -> Result<Figures> {
    let mut ours = Append(Remembered::new().await?);
    repeat(lab.rounds(5), &mut ours).await
}

/// From asking for a thousand events to having them.
pub(in super::super) async fn replay(lab: &mut Lab) -> Result<Figures> {
    let remembered = Remembered::new().await?;
    let doing = || "cannot store the events".to_owned();
    let batch = Batch {
        events: (0..EVENTS).map(|_| (None, said())).collect(),
        ..Batch::default()
    };
    let stored = remembered.store.commit(&remembered.session, batch).await;
    let stored = stored.context(doing)?;
    let first = stored.first().ok_or_else(|| Error::new(doing()))?;
    let mut ours = Replay {
        after: first.seq - 1,
        remembered,
    };
    repeat(lab.rounds(50), &mut ours).await
}

/// A session, and the store that has its record.
struct Remembered {
    store: Store,
    session: SessionId,
    _site: Site,
}

impl Remembered {
    async fn new() -> Result<Self> {
        let doing = || "cannot make a session to be remembered".to_owned();
        let site = Site::new().context(doing)?;
        let manager = site.manager().await.context(doing)?;
        let session = manager.create(CreateSession::default()).await.context(doing)?.id;
        // Nobody else writes from now on.
        manager.shutdown().await;
        let state = StateDir::open(&site.state_dir()).context(doing)?;
        Ok(Self {
            store: Store::open(&state).await.context(doing)?,
            session,
            _site: site,
        })
    }
}

struct Append(Remembered);

impl Side for Append {
    async fn once(&mut self) -> Result<Duration> {
        let doing = || "cannot append an event".to_owned();
        let mut writers = JoinSet::new();
        let started = Instant::now();
        for _ in 0..WRITERS {
            let (store, session) = (self.0.store.clone(), self.0.session);
            writers.spawn(async move {
                for _ in 0..EACH {
                    let batch = Batch {
                        events: vec![(None, said())],
                        ..Batch::default()
                    };
                    store.commit(&session, batch).await?;
                }
                Ok::<_, session_core::error::Error>(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written.context(doing)?.context(doing)?;
        }
        Ok(started.elapsed() / (WRITERS * EACH))
    }
}

struct Replay {
    remembered: Remembered,
    after: u64,
}

impl Side for Replay {
    async fn once(&mut self) -> Result<Duration> {
        let Remembered { store, session, .. } = &self.remembered;
        let query = EventQuery {
            after: self.after,
            limit: EVENTS,
            tail: false,
        };
        let started = Instant::now();
        let events = store.events(session, query).await;
        let taken = started.elapsed();
        match events.context(|| "cannot read the events".to_owned())?.len() {
            EVENTS => Ok(taken),
            count => Err(Error::new(format!("of {EVENTS} events, {count} were read again"))),
        }
    }
}

fn said() -> EventKind {
    EventKind::AgentText {
        text: "x".repeat(TEXT),
    }
}
