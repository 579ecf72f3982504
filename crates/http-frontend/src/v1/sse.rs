//! Server-sent events: what a stream of the core looks like to a subscriber.
//!
//! Nothing is buffered here: the next fact is asked for when the one before was handed to the connection, so a slow
//! subscriber slows down nobody but itself. The server's end and a revoked token end such a body, see `crate::body`.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use http_api::{SurfaceCode, headers};
use serde::Serialize;

use crate::problem::Failure;

/// How long nothing is said before a comment shows that the connection is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One fact for a subscriber.
pub(crate) struct Notice {
    /// What to resume from.
    pub(crate) id: u64,
    /// The event's name.
    pub(crate) name: Cow<'static, str>,
    /// Its data: JSON, which has no line ends.
    pub(crate) data: String,
}

/// The answer. A failure is the last event, named `error`, and its data is a problem.
pub(crate) fn answer<S>(notices: S) -> Response
where
    S: Stream<Item = Result<Notice, Failure>> + Send + 'static,
{
    let events = stream::unfold(Some(Box::pin(notices)), |notices| async move {
        let mut notices = notices?;
        match notices.next().await? {
            Ok(Notice { id, name, data }) => {
                let event = Event::default().id(id.to_string()).event(name).data(data);
                fail::fail_point!("http.event.before");
                Some((event, Some(notices)))
            }
            Err(failure) => Some((problem(&failure), None)),
        }
    });
    Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(HEARTBEAT))
        .into_response()
}

fn problem(failure: &Failure) -> Event {
    let event = Event::default().event("error");
    // A problem is texts and numbers; it can always be written.
    event.json_data(failure.problem()).unwrap_or_default()
}

/// The data of a notice.
pub(crate) fn json<T: Serialize>(data: &T) -> Result<String, Failure> {
    serde_json::to_string(data).map_err(|error| {
        tracing::error!(%error, "an event could not be written");
        Failure::new(SurfaceCode::Internal, "an event could not be written")
    })
}

/// What the subscriber saw last, from `Last-Event-ID` if it is there.
///
/// # Errors
/// 400 when it is no number.
pub(crate) fn last_seen(headers: &HeaderMap, query: u64) -> Result<u64, Failure> {
    let Some(header) = headers.get(headers::LAST_EVENT_ID) else {
        return Ok(query);
    };
    let number = header
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|text| text.parse().ok())
        .filter(|number| *number <= http_api::query::MAX_SAFE)
        .ok_or_else(|| {
            Failure::new(
                SurfaceCode::BadRequest,
                "the header `Last-Event-ID` is no number of an event",
            )
        })
}
