//! Bodies of the interface that existed before. What it did not know it did not look at; what it knew it wants as text.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use session_core::agent::MAX_PROMPT_BYTES;

use super::answer::Refusal;
use super::queue::Priority;
use crate::json;
use crate::state::AppState;

/// The analyses by name.
const ANALYSES: [&str; 4] = ["structure", "health", "dependencies", "issues"];

/// What `execute` is asked.
#[derive(Debug, PartialEq)]
pub(super) struct Execute {
    pub(super) task_description: String,
    pub(super) project_path: String,
    pub(super) context: Value,
    pub(super) priority: Priority,
    /// Whether the answer waits for the end.
    pub(super) wait: bool,
}

/// What `analyze` is asked.
#[derive(Debug, PartialEq)]
pub(super) struct Analyze {
    pub(super) project_path: String,
    pub(super) analysis_type: &'static str,
    /// Whether the agent shall add its words.
    pub(super) enrich: bool,
}

/// Reads a body as an object.
pub(super) async fn body(
    request: Request,
    state: &AppState,
) -> Result<(HeaderMap, Map<String, Value>), Refusal> {
    let headers = request.headers().clone();
    if !is_json(&headers) {
        return Err(Refusal::Bad(
            "the body must be JSON, and be announced as Content-Type: application/json".to_owned(),
        ));
    }
    let options = state.options();
    let bytes = json::read(request.into_body(), options.max_body, options.body_timeout).await?;
    match json::parse(&bytes)? {
        Value::Object(fields) => Ok((headers, fields)),
        _ => Err(Refusal::Bad("the body must be a JSON object".to_owned())),
    }
}

/// As lenient as that interface was about what follows the type; a page of another site cannot send this type unasked.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .map(|kind| kind.split(';').next().unwrap_or_default().trim())
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

impl Execute {
    pub(super) fn read(headers: &HeaderMap, fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let task_description = required(fields, "task_description")?;
        let project_path = required(fields, "project_path")?;
        let context = fields.get("context").cloned().unwrap_or_default();
        let priority = match text(fields, "priority")? {
            None => Priority::Medium,
            Some(name) => name.parse().map_err(|()| {
                Refusal::Bad("priority must be one of: low, medium, high, critical".to_owned())
            })?,
        };
        let wait = flag(fields, "wait")?.unwrap_or(true) && !prefers_async(headers);
        let execute = Self {
            task_description,
            project_path,
            context,
            priority,
            wait,
        };
        if super::tasks::prompt::of(&execute).len() > MAX_PROMPT_BYTES {
            return Err(Refusal::Bad(format!(
                "task_description and context together are longer than {MAX_PROMPT_BYTES} bytes"
            )));
        }
        Ok(execute)
    }
}

impl Analyze {
    pub(super) fn read(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let project_path = required(fields, "project_path")?;
        let asked = text(fields, "analysis_type")?.unwrap_or_else(|| ANALYSES[0].to_owned());
        let analysis_type = ANALYSES
            .into_iter()
            .find(|name| *name == asked)
            .ok_or_else(|| Refusal::Bad(format!("analysis_type must be one of: {}", ANALYSES.join(", "))))?;
        Ok(Self {
            project_path,
            analysis_type,
            enrich: flag(fields, "enrich")?.unwrap_or(false),
        })
    }
}

fn required(fields: &Map<String, Value>, name: &str) -> Result<String, Refusal> {
    match text(fields, name)? {
        Some(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(Refusal::Bad(format!("{name} is required"))),
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::Bad(format!("{name} must be a string"))),
    }
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<Option<bool>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Refusal::Bad(format!("{name} must be true or false"))),
    }
}

/// `Prefer: respond-async`, RFC 7240.
fn prefers_async(headers: &HeaderMap) -> bool {
    let given = headers.get_all("prefer").iter();
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}
