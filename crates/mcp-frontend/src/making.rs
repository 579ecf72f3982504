//! Makes a session while somebody waits: tells how far it is, and puts it away again when nobody wants it any more.

use std::time::Duration;

use jiff::Timestamp;
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind};
use session_core::event::EventKind;
use session_core::session::{CreateSession, EventQuery, SessionFilter, SessionInfo};
use session_core::state::SessionState;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::call::{Call, Stop};
use crate::core::Core;
use crate::failure::Failure;
use crate::tools::refusal;

type Creation = JoinHandle<session_core::error::Result<SessionInfo>>;

/// How long a creation may be silent before it is looked up how far it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes a session. When the caller gives up, or it takes longer than `limit`, it is removed as soon as it is made;
/// unless it was asked for under an idempotency key, by which the caller can come back to it.
pub(crate) async fn make(call: &Call, request: CreateSession, limit: Duration) -> Result<SessionInfo, Stop> {
    let keyed = request.idempotency_key.is_some();
    let mut watch = Watch::new(&request);
    let api = call.core.api.clone();
    // Detached from this call: what was begun is brought to a state that is known.
    let mut creation: Creation = call.core.tasks.spawn(async move { api.create(request).await });
    let mut beats = call.beats();
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    loop {
        // The creation is kept outside of the loop; beats and tokens lose nothing when they are dropped.
        tokio::select! {
            made = &mut creation => {
                call.core.changes.nudge();
                return match made.unwrap_or_else(|died| Err(crashed(died))) {
                    Ok(info) => Ok(info),
                    Err(error) => Err(refusal(call, error).await.into()),
                };
            }
            () = call.cancelled.cancelled() => {
                put_away(&call.core, creation, keyed);
                return Err(Failure::cancelled("the creation was cancelled").into());
            }
            () = &mut deadline => {
                put_away(&call.core, creation, keyed);
                return Err(late(limit, keyed).into());
            }
            _ = beats.tick(), if call.is_watched() => watch.tell(call).await,
        }
    }
}

fn late(limit: Duration, keyed: bool) -> Failure {
    let hint = if keyed {
        "it goes on; call again with the same idempotencyKey to wait for it"
    } else {
        "nothing of it is left; give it more time with timeoutSeconds (the first use of an image has to fetch it)"
    };
    let message = format!("the session was not ready within {} s", limit.as_secs());
    Failure::of(ErrorKind::LimitExceeded, message, hint)
}

fn crashed(died: tokio::task::JoinError) -> Error {
    Error::new(
        ErrorKind::Internal,
        "create the session",
        "the creating task died",
    )
    .with_source(died)
}

fn put_away(core: &Core, creation: Creation, keyed: bool) {
    if keyed {
        return;
    }
    let (api, changes) = (core.api.clone(), core.changes.clone());
    core.tasks.spawn(async move {
        if let Ok(Ok(info)) = creation.await {
            destroy_for_sure(&*api, &info).await;
            changes.nudge();
        }
    });
}

/// Destroys a session that nobody will ask for again. Answers whether it is gone.
pub(crate) async fn destroy_for_sure(api: &dyn SessionApi, info: &SessionInfo) -> bool {
    const PAUSES: [u64; 3] = [0, 1, 3];
    for pause in PAUSES {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        match api.destroy(&info.id).await {
            Ok(()) => return true,
            Err(error) => tracing::warn!(session = %info.id, %error, "a session could not be put away"),
        }
    }
    false
}

/// Looks up what a creation tells about itself. Its id is not known before it ends, so the newest session that looks
/// like what was asked for is taken; only a message hangs on it.
struct Watch {
    name: Option<String>,
    since: Timestamp,
    begun: Instant,
    last: String,
}

impl Watch {
    fn new(request: &CreateSession) -> Self {
        Self {
            name: request.name.clone(),
            since: Timestamp::now(),
            begun: Instant::now(),
            last: "creating the session".to_owned(),
        }
    }

    async fn tell(&mut self, call: &Call) {
        if self.begun.elapsed() >= PATIENCE
            && let Some(message) = self.look(&*call.core.api).await
            && message != self.last
        {
            self.last.clone_from(&message);
            return call.tell(message).await;
        }
        call.beat(|| format!("{} ({} s)", self.last, self.begun.elapsed().as_secs()))
            .await;
    }

    async fn look(&self, api: &dyn SessionApi) -> Option<String> {
        let sessions = api.list(SessionFilter::default()).await.ok()?;
        let session = sessions.into_iter().find(|session| {
            session.state == SessionState::Creating
                && session.created_at >= self.since
                && session.name == self.name
        })?;
        let query = EventQuery {
            limit: 16,
            tail: true,
            ..EventQuery::default()
        };
        let events = api.event_page(&session.id, query).await.ok()?;
        events.iter().rev().find_map(|event| match &event.kind {
            progress @ EventKind::Progress { .. } => crate::activity::line(progress),
            _ => None,
        })
    }
}
