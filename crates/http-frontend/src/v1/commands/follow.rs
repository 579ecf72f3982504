//! A command's output as server-sent events, for whoever only wants to look.

use axum::http::HeaderMap;
use axum::response::Response;
use futures::StreamExt;
use http_api::CommandNotice;
use http_api::query::OffsetQuery;
use session_core::command::RunningCommand;
use session_core::id::{CommandId, SessionId};

use crate::caller::{Api, RequireUse};
use crate::problem::Failure;
use crate::v1::openapi::answers::{Basic, OfSession};
use crate::v1::query::Query;
use crate::v1::route::Route;
use crate::v1::sse::{self, Notice};

/// A detached command's output from a position on, and its end. The `id` of each event is the position behind it, `event`
/// is `output`, `gap` or `exited`; an event named `error` with a problem ends it, too. What was sent need not be kept any
/// more: whoever may not lose a byte uses the WebSocket, where the reader acknowledges.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session}/commands/{command}/events",
    operation_id = "follow_command",
    tag = "commands",
    params(
        ("session" = SessionId, Path, description = "The session."),
        ("command" = CommandId, Path, description = "The command."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The `id` of the last event that was seen; goes before `offset`.",
            minimum = 0, maximum = 9_007_199_254_740_991u64, nullable = false),
        OffsetQuery
    ),
    responses(
        (status = 200, description = "Server-sent events.", content_type = "text/event-stream", body = crate::v1::openapi::ServerSentEvent),
        Basic, OfSession
    )
)]
pub(crate) async fn events(
    _: RequireUse,
    Api(api): Api,
    Route((session, command)): Route<(SessionId, CommandId)>,
    Query(query): Query<OffsetQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let offset = sse::last_seen(&headers, query.offset)?;
    let RunningCommand { events, control, .. } = api.attach_command(&session, &command, offset).await?;
    Ok(sse::answer(events.map(move |event| {
        // Held for as long as somebody reads.
        let _ = &control;
        let notice = CommandNotice::from(event?);
        Ok(Notice {
            id: notice.next_offset(),
            name: notice.name().into(),
            data: sse::json(&notice)?,
        })
    })))
}
