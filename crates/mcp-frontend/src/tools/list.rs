//! `list_sessions`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::session::{SessionFilter, SessionInfo};
use session_core::state::StateName;

use super::{Hints, SessionView, Spec, Tool};
use crate::args::{Count, given};
use crate::call::{Call, Stop};
use crate::failure::Failure;

/// The most sessions in one result.
const MAX_LIMIT: usize = 200;
const DEFAULT_LIMIT: usize = 50;

/// See the module.
pub(super) struct ListSessions;

/// What `list_sessions` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// Only sessions in this state. Without it: all that were not destroyed and did not fail.
    #[schemars(with = "Option<State>")]
    state: Option<StateName>,
    /// Only sessions that bear all of these labels.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// At most so many, up to 200; 50 when absent.
    limit: Option<Count>,
    /// nextCursor of the page before.
    cursor: Option<String>,
}

/// The names of states, for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum State {
    Creating,
    Ready,
    Busy,
    Paused,
    Failed,
    Interrupted,
    Destroying,
    Destroyed,
}

/// What `list_sessions` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The sessions, newest first.
    sessions: Vec<SessionView>,
    /// How many match in all.
    total: u64,
    /// Give it as `cursor` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// What an empty list means.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Where a page ends. Sessions that come or go between two pages move nothing.
fn position(info: &SessionInfo) -> String {
    format!("{}/{}", info.created_at, info.id)
}

fn parse_cursor(text: &str) -> Result<(jiff::Timestamp, String), Failure> {
    text.split_once('/')
        .and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())))
        .ok_or_else(|| {
            Failure::invalid(
                "cursor: this is not a cursor of this tool",
                "give nextCursor as it came",
            )
        })
}

impl Tool for ListSessions {
    const SPEC: Spec = Spec {
        name: "list_sessions",
        title: "List sessions",
        description: "The sessions, newest first. Use it to find a session again or to see what is left over; it \
            touches no container.",
        hints: Hints::READS,
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let limit = args.limit.map_or(DEFAULT_LIMIT, |Count(limit)| {
            usize::try_from(limit).unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT)
        });
        let after = given(args.cursor.as_deref()).map(parse_cursor).transpose()?;
        let filter = SessionFilter {
            all: matches!(args.state, Some(StateName::Failed | StateName::Destroyed)),
            labels: args.labels,
            ..SessionFilter::default()
        };
        let mut sessions = call.core.api.list(filter).await?;
        sessions.retain(|session| args.state.is_none_or(|state| session.state.name() == state));
        sessions
            .sort_by_cached_key(|session| std::cmp::Reverse((session.created_at, session.id.to_string())));
        let total = sessions.len() as u64;
        if let Some(after) = &after {
            sessions.retain(|session| (session.created_at, session.id.to_string()) < *after);
        }
        let next_cursor = (sessions.len() > limit).then(|| position(&sessions[limit - 1]));
        let sessions: Vec<SessionView> = sessions.iter().take(limit).map(SessionView::new).collect();
        let note = sessions.is_empty().then(|| {
            if total > 0 {
                "there are no more sessions".to_owned()
            } else {
                "no session matches; create_session makes one".to_owned()
            }
        });
        Ok(Output {
            sessions,
            total,
            next_cursor,
            note,
        })
    }
}
