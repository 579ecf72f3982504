//! `egress log`: what was reached, what was denied and what was decided, of one session or of all.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::SelectAll;
use session_core::api::{EventStream, SessionApi};
use session_core::error::Result;
use session_core::event::{Event, EventKind};
use session_core::id::SessionId;
use session_core::session::{EventQuery, SessionFilter};
use tokio::time::MissedTickBehavior;

use super::find;
use crate::args::EgressLogArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::render::{self, Clock, Timeline};

/// How many events are read at once.
const PAGE: usize = 1000;
/// How often it is looked for sessions that came meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// Prints what happened, and with `--follow` what happens.
pub(super) async fn log(args: &EgressLogArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = find(args.session.as_deref(), api).await?;
    let mut log = Log {
        api,
        printer: &console.printer,
        timeline: Timeline::new(Clock::Wall(console.time_zone()), console.printer.paint(), true),
        names_sessions: session.is_none(),
    };
    match session {
        Some(session) => {
            let (events, after) = log.stored(&session).await?;
            events.iter().try_for_each(|event| log.print(event))?;
            if args.follow {
                let mut events = api.events(&session, after).await?;
                while let Some(event) = events.next().await {
                    log.print(&event?)?;
                }
            }
        }
        None => log.all(args.follow).await?,
    }
    Ok(ExitStatus::SUCCESS)
}

struct Log<'a> {
    api: &'a dyn SessionApi,
    printer: &'a Printer,
    timeline: Timeline,
    /// Whether lines have to say whose they are.
    names_sessions: bool,
}

impl Log<'_> {
    /// All living sessions: what is stored by its time, then each event as it comes.
    async fn all(&mut self, follow: bool) -> Result<()> {
        let mut followed = Followed::default();
        let mut stored = Vec::new();
        for session in self.living().await? {
            let (events, after) = self.stored(&session).await?;
            stored.extend(events);
            if follow {
                followed.add(self.api, session, after).await?;
            }
        }
        stored.sort_by_key(|event| event.at);
        stored.iter().try_for_each(|event| self.print(event))?;
        if !follow {
            return Ok(());
        }
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            // Both arms lose nothing when they are dropped: events stay in their streams, and a tick comes again.
            tokio::select! {
                Some(event) = followed.streams.next() => self.print(&event?)?,
                _ = look.tick() => for session in self.living().await? {
                    followed.add(self.api, session, 0).await?;
                },
            }
        }
    }

    async fn living(&self) -> Result<Vec<SessionId>> {
        let sessions = self.api.list(SessionFilter::default()).await?;
        Ok(sessions.iter().map(|session| session.id).collect())
    }

    /// The stored events that matter, and the number of the last of all.
    async fn stored(&self, session: &SessionId) -> Result<(Vec<Event>, u64)> {
        let (mut kept, mut after) = (Vec::new(), 0);
        loop {
            let query = EventQuery {
                after,
                limit: PAGE,
                tail: false,
            };
            let events = self.api.event_page(session, query).await?;
            let Some(last) = events.last() else {
                return Ok((kept, after));
            };
            after = last.seq;
            kept.extend(events.into_iter().filter(matters));
        }
    }

    fn print(&mut self, event: &Event) -> Result<()> {
        if !matters(event) {
            return Ok(());
        }
        if self.printer.json() {
            return self.printer.object(event);
        }
        match self.timeline.render(event) {
            Some(line) if self.names_sessions => self
                .printer
                .line(format_args!("{} {line}", render::short(&event.session))),
            Some(line) => self.printer.line(line),
            None => Ok(()),
        }
    }
}

/// The streams of sessions that come one after the other. A session that ends ends its stream alone.
#[derive(Default)]
struct Followed {
    known: HashSet<SessionId>,
    streams: SelectAll<EventStream>,
}

impl Followed {
    async fn add(&mut self, api: &dyn SessionApi, session: SessionId, after: u64) -> Result<()> {
        if self.known.insert(session) {
            self.streams.push(api.events(&session, after).await?);
        }
        Ok(())
    }
}

fn matters(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::EgressAllowed { .. } | EventKind::EgressDenied { .. } | EventKind::EgressDecided { .. }
    )
}
