//! Sessions as text for readers of resources.

use std::fmt::Write as _;
use std::sync::Arc;

use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::EventQuery;

use super::View;
use crate::activity;
use crate::call::Stop;
use crate::core::Core;
use crate::text::{cut, head};
use crate::tools::{newest_lines, session_document};

/// The newest events in a log.
const LOG: usize = 500;
/// The newest events from which a transcript is made.
const TRANSCRIPT: usize = 5000;
/// How much of one text stands in a transcript.
const PIECE: usize = 8 << 10;
/// How much larger a resource may be than a tool's result: a person reads it, not a model.
const FACTOR: usize = 8;

/// The resource's text.
pub(super) async fn render(core: &Arc<Core>, id: &SessionId, view: View) -> Result<String, Stop> {
    let limit = core.options.output_limit * FACTOR;
    match view {
        View::Session => session_document(core, id).await,
        View::Log => log(core, id).await,
        View::Transcript => transcript(core, id, limit).await,
        View::Diff => {
            let diff = core.api.diff(id).await?;
            let kept = head(&diff.patch, limit);
            if kept.len() < diff.patch.len() || diff.truncated {
                return Ok(format!(
                    "{kept}\n# cut here; get_session_diff pages through the rest\n"
                ));
            }
            Ok(diff.patch)
        }
    }
}

async fn log(core: &Core, id: &SessionId) -> Result<String, Stop> {
    let mut text = String::new();
    for line in newest_lines(core, id, LOG).await? {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} {} {} {}",
            line.seq,
            line.at,
            line.kind,
            line.text.replace('\n', "\n    ")
        );
    }
    Ok(text)
}

async fn transcript(core: &Core, id: &SessionId, limit: usize) -> Result<String, Stop> {
    let query = EventQuery {
        after: 0,
        limit: TRANSCRIPT,
        tail: true,
    };
    let events = core.api.event_page(id, query).await?;
    let mut parts: Vec<String> = Vec::new();
    let mut size = 0;
    for event in events.iter().rev() {
        let Some(part) = paragraph(&event.kind) else {
            continue;
        };
        size += part.len();
        if size > limit {
            parts.push("…\n".to_owned());
            break;
        }
        parts.push(part);
    }
    parts.reverse();
    if parts.is_empty() {
        return Ok("Nothing was said yet.\n".to_owned());
    }
    Ok(parts.join("\n"))
}

fn paragraph(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::TurnQueued { prompt } => format!("## Prompt\n\n{}\n", cut(prompt, PIECE)),
        EventKind::AgentText { text } => format!("{}\n", cut(text, PIECE)),
        EventKind::ToolCall { tool, input, .. } => {
            format!("- `{}`\n", activity::call(tool, input).replace('`', "'"))
        }
        EventKind::ToolResult {
            is_error: true, text, ..
        } => format!("  failed: {}\n", cut(text, 500).replace('\n', "\n  ")),
        EventKind::McpServer { status } => format!("*{}*\n", activity::server(status).replace('*', "'")),
        EventKind::TurnFinished { outcome } => {
            let end = outcome
                .failure
                .as_ref()
                .map(|failure| failure.error.message.clone());
            format!(
                "*{}*\n",
                end.unwrap_or_else(|| "the agent has finished".to_owned())
            )
        }
        _ => return None,
    })
}
