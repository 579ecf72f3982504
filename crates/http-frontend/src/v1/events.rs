//! Events: stored ones at once, and all as they happen.

use axum::http::HeaderMap;
use axum::response::Response;
use futures::StreamExt;
use http_api::query::{AfterQuery, EventsQuery};
use session_core::event::Event;
use session_core::id::SessionId;

use super::openapi::answers::{Basic, OfSession};
use super::query::Query;
use super::route::Route;
use super::sse::{self, Notice};
use crate::caller::Api;
use crate::json::Json;
use crate::problem::Failure;

/// Stored events.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/events",
    operation_id = "list_events",
    tag = "events",
    params(("session" = SessionId, Path, description = "The session."), EventsQuery),
    responses((status = 200, description = "The events, in ascending order.", body = Vec<Event>), Basic, OfSession)
)]
pub(crate) async fn page(
    Api(api): Api,
    Route(session): Route<SessionId>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Vec<Event>>, Failure> {
    Ok(Json(api.event_page(&session, query.into()).await?))
}

/// Events as they happen: first those that are stored, then each in its time. The `id` of each is its number, from which a
/// subscriber that comes back goes on; `event` is its kind and `data` the event itself. Ends after the last event of a
/// session that has ended; an event named `error` with a problem ends it, too.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/events/stream",
    operation_id = "follow_events",
    tag = "events",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The number of the last event that was seen; goes before `after`.",
            minimum = 0, maximum = 9_007_199_254_740_991u64, nullable = false),
        AfterQuery
    ),
    responses(
        (status = 200, description = "Server-sent events.", content_type = "text/event-stream", body = crate::v1::openapi::ServerSentEvent),
        Basic, OfSession
    )
)]
pub(crate) async fn stream(
    Api(api): Api,
    Route(session): Route<SessionId>,
    Query(query): Query<AfterQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let after = sse::last_seen(&headers, query.after)?;
    let events = api.events(&session, after).await?;
    Ok(sse::answer(events.map(|event| notice(&event?))))
}

fn notice(event: &Event) -> Result<Notice, Failure> {
    let data = sse::json(event)?;
    Ok(Notice {
        id: event.seq,
        name: kind(&data).to_owned().into(),
        data,
    })
}

/// The kind of an event that was written. Before it there are ids, a number and a time alone, so its tag is the first.
fn kind(written: &str) -> &str {
    const TAG: &str = "\"event\":\"";
    let rest = written.split_once(TAG).map_or("", |(_, rest)| rest);
    rest.split_once('"').map_or("", |(kind, _)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_core::event::EventKind;
    use session_core::id::TurnId;

    #[test]
    fn the_name_of_an_event_is_its_tag_whatever_its_texts_say() {
        let text = r#"","event":"turn_finished"#.to_owned();
        for (kind, name) in [
            (EventKind::AgentText { text: text.clone() }, "agent_text"),
            (EventKind::TurnStarted, "turn_started"),
            (EventKind::TurnQueued { prompt: text }, "turn_queued"),
        ] {
            for turn in [None, Some(TurnId::new())] {
                let event = Event {
                    session: SessionId::new(),
                    seq: 7,
                    at: jiff::Timestamp::UNIX_EPOCH,
                    turn,
                    kind: kind.clone(),
                };
                let notice = notice(&event).unwrap();
                assert_eq!((notice.id, notice.name.as_ref()), (7, name));
            }
        }
    }
}
