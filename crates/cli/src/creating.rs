//! A session made while the user watches, and put away again when the user changes their mind in the middle.

use futures::StreamExt;
use jiff::Timestamp;
use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::{CreateSession, EventQuery, SessionFilter, SessionInfo, WorkspaceSource};
use session_core::state::SessionState;
use tokio::time::{Duration, Instant, MissedTickBehavior};

use crate::failure::print_warning;
use crate::interrupts::{Interrupt, Interrupts};
use crate::printer::{Printer, TICK};

/// How often it is looked up how far a creation is. The first look is after this time too: most creations take less.
const LOOK: Duration = Duration::from_millis(800);

/// What came of it.
#[derive(Debug)]
pub enum Creation {
    /// The session is ready.
    Ready(Box<SessionInfo>),
    /// The user interrupted. Nothing is left, unless they insisted.
    Abandoned(Interrupt),
}

/// Creates a session and shows how far it is.
///
/// # Errors
/// Those of [`SessionApi::create`].
pub async fn create(
    api: &dyn SessionApi,
    request: CreateSession,
    printer: &Printer,
    interrupts: &mut Interrupts,
) -> Result<Creation> {
    let mut watch = Watch::new(&request);
    let keyed = request.idempotency_key.is_some();
    let mut creation = api.create(request);
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut abandoned: Option<Interrupt> = None;
    printer.status(Some("creating the session"));
    loop {
        // The creation is kept outside of the loop; signals and ticks lose nothing when they are dropped.
        tokio::select! {
            created = &mut creation => {
                printer.status(None);
                let info = created?;
                let Some(signal) = abandoned else { return Ok(Creation::Ready(Box::new(info))) };
                put_away(api, &info.id, printer).await?;
                return Ok(Creation::Abandoned(signal));
            }
            Some(signal) = interrupts.next() => {
                // One with a key can be come back to, and may have been there before.
                if let Some(first) = abandoned.or(keyed.then_some(signal)) {
                    printer.status(None);
                    print_warning(
                        printer,
                        "the session may still be there",
                        Some("`cofferdam ls` shows it, `cofferdam rm` removes it"),
                    );
                    return Ok(Creation::Abandoned(first));
                }
                abandoned = Some(signal);
                printer.note("the session is removed as soon as it is made; again to leave at once");
                printer.status(Some("removing the session"));
            }
            _ = ticker.tick(), if printer.shows_progress() => {
                // A look that fails only means that nothing is shown; the creation itself says what is wrong.
                if abandoned.is_none() && let Ok(Some(message)) = watch.look(api).await {
                    printer.status(Some(&message));
                }
                printer.tick();
            }
        }
    }
}

async fn put_away(api: &dyn SessionApi, session: &SessionId, printer: &Printer) -> Result<()> {
    api.destroy(session).await?;
    printer.note("removed; nothing is left of it");
    Ok(())
}

/// Looks up what a creation tells about itself, for instance how much of an image has come. The id is not known before
/// the creation ends, so the newest session that looks like what was asked for is taken; only a message hangs on it.
struct Watch {
    name: Option<String>,
    workspace: WorkspaceSource,
    since: Timestamp,
    next: Instant,
}

impl Watch {
    fn new(request: &CreateSession) -> Self {
        Self {
            name: request.name.clone(),
            workspace: request.workspace.clone(),
            since: Timestamp::now(),
            next: Instant::now() + LOOK,
        }
    }

    async fn look(&mut self, api: &dyn SessionApi) -> Result<Option<String>> {
        if Instant::now() < self.next {
            return Ok(None);
        }
        self.next = Instant::now() + LOOK;
        let sessions = api.list(SessionFilter::default()).await?;
        let Some(session) = sessions.iter().find(|session| self.matches(session)) else {
            return Ok(None);
        };
        let query = EventQuery {
            limit: 16,
            tail: true,
            ..EventQuery::default()
        };
        let events = api.event_page(&session.id, query).await?;
        Ok(events.into_iter().rev().find_map(|event| match event.kind {
            EventKind::Progress { message } => Some(message),
            _ => None,
        }))
    }

    fn matches(&self, session: &SessionInfo) -> bool {
        session.state == SessionState::Creating
            && session.created_at >= self.since
            && session.name == self.name
            && std::mem::discriminant(&session.workspace) == std::mem::discriminant(&self.workspace)
    }
}
