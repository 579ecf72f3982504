//! Sessions as resources: `session://{id}`, and its log, transcript and diff.

mod render;

use std::sync::Arc;

use rmcp::model::{
    ErrorData, ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use session_core::error::ErrorKind;
use session_core::id::SessionId;
use session_core::session::{SessionFilter, SessionInfo};

use crate::call::Stop;
use crate::core::Core;
use crate::failure::Failure;
use crate::text::one_line;

/// Sessions on one page of the list.
const PAGE: usize = 50;

/// What there is of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Session,
    Log,
    Transcript,
    Diff,
}

impl View {
    const ALL: [Self; 4] = [Self::Session, Self::Log, Self::Transcript, Self::Diff];

    fn path(self) -> &'static str {
        match self {
            Self::Session => "",
            Self::Log => "/log",
            Self::Transcript => "/transcript",
            Self::Diff => "/diff",
        }
    }

    fn mime(self) -> &'static str {
        match self {
            Self::Session => "application/json",
            Self::Log => "text/plain",
            Self::Transcript => "text/markdown",
            Self::Diff => "text/x-diff",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Log => "log",
            Self::Transcript => "transcript",
            Self::Diff => "diff",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Session => "State, limits and use of a session",
            Self::Log => "The newest events of a session, one a line",
            Self::Transcript => "The conversation with a session's agent",
            Self::Diff => "What changed in a session's workspace, as a git patch",
        }
    }
}

fn resource(session: &SessionInfo, view: View) -> Resource {
    let id = session.id.to_string();
    let who = session
        .name
        .as_deref()
        .map_or_else(|| id[..8].to_owned(), |name| one_line(name, 60));
    Resource::new(
        format!("session://{id}{}", view.path()),
        format!("{} {}", view.name(), &id[..8]),
    )
    .with_title(format!("{who}: {}", view.name()))
    .with_description(view.about())
    .with_mime_type(view.mime())
}

/// One page of the list; newest sessions first.
pub(crate) async fn list(core: &Core, cursor: Option<String>) -> Result<ListResourcesResult, ErrorData> {
    let sessions = core
        .api
        .list(SessionFilter::default())
        .await
        .map_err(|error| internal(&error.into()))?;
    let from = match cursor {
        None => 0,
        // The session that was last on the page before. One that is gone starts the list again: better twice than never.
        Some(last) => sessions
            .iter()
            .position(|session| session.id.to_string() == last)
            .map_or(0, |at| at + 1),
    };
    let page: Vec<_> = sessions.iter().skip(from).take(PAGE).collect();
    let resources = page
        .iter()
        .flat_map(|session| View::ALL.map(|view| resource(session, view)))
        .collect();
    let mut result = ListResourcesResult::with_all_items(resources);
    if sessions.len() > from + page.len() {
        result.next_cursor = page.last().map(|session| session.id.to_string());
    }
    Ok(result)
}

/// The forms of addresses.
pub(crate) fn templates() -> ListResourceTemplatesResult {
    ListResourceTemplatesResult::with_all_items(
        View::ALL
            .map(|view| {
                ResourceTemplate::new(format!("session://{{id}}{}", view.path()), view.name())
                    .with_description(view.about())
                    .with_mime_type(view.mime())
            })
            .to_vec(),
    )
}

/// One resource.
pub(crate) async fn read(core: &Arc<Core>, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let (id, view) = parse(uri).ok_or_else(|| missing(uri))?;
    let text = render::render(core, &id, view).await.map_err(|stop| match stop {
        Stop::Failed(failure) if failure.code() == ErrorKind::NotFound.code() => missing(uri),
        Stop::Failed(failure) => internal(&failure),
        Stop::Handed(_) => ErrorData::internal_error("a resource is no task", None),
    })?;
    let contents = ResourceContents::TextResourceContents {
        uri: uri.to_owned(),
        mime_type: Some(view.mime().to_owned()),
        text,
        meta: None,
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

fn parse(uri: &str) -> Option<(SessionId, View)> {
    let rest = uri.strip_prefix("session://")?;
    let (id, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let view = View::ALL.into_iter().find(|view| view.path() == path)?;
    Some((id.parse().ok()?, view))
}

fn missing(uri: &str) -> ErrorData {
    ErrorData::resource_not_found(
        "there is no such resource",
        Some(serde_json::json!({ "uri": one_line(uri, 200) })),
    )
}

fn internal(failure: &Failure) -> ErrorData {
    ErrorData::internal_error(failure.text(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_exact() {
        let id = SessionId::new();
        for view in View::ALL {
            assert_eq!(parse(&format!("session://{id}{}", view.path())), Some((id, view)));
        }
        for bad in [
            "",
            "session://",
            "session://x",
            "file:///etc/passwd",
            "session://../..",
            "session://x/log/..",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&format!("session://{id}/log/x")), None);
    }
}
