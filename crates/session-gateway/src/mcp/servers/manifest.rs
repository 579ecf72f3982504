//! Asking a server what it has, and making that fit to be shown.
//!
//! What a server says of itself is the longest text that it gets into a model without anybody asking, so it is bounded in
//! every direction: pages, items, bytes of an item and of a list.

use std::collections::HashSet;

use jiff::Timestamp;
use mcp_catalog::{Digest, Manifest};
use rmcp::model::{
    ClientRequest, ListPromptsRequest, ListResourceTemplatesRequest, ListResourcesRequest, ListToolsRequest,
    PaginatedRequestParams, Prompt, Resource, ResourceTemplate, ServerResult, Tool,
};
use rmcp::service::ServiceError;
use serde::Serialize;
use serde_json::Value;

use super::clean::{Text, clean, clean_cut, clean_fields};
use super::hub::Lists;
use super::live::Live;
use super::result::size;
use crate::mcp::call::{Failure, FailureCause};
use crate::mcp::config::McpLimits;

/// Pages of one list.
const MAX_PAGES: usize = 64;
/// Bytes of one list.
const MAX_LIST: usize = 8 << 20;
/// Bytes of one item, schemas included.
const MAX_ITEM: usize = 64 << 10;
/// The longest title, and the longest name of what is no tool.
const MAX_NAME: usize = 256;
/// The longest address of a resource.
const MAX_URI: usize = 2048;
/// The longest name of a tool, so that there is room for the server's before it.
const MAX_TOOL: usize = 64;

/// What a server said, and what of it was left out.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) manifest: Manifest,
    /// One line, when something was left out.
    pub(crate) warning: Option<String>,
}

/// Asks for the lists that are named; the others are as they were.
pub(crate) async fn list(
    live: &Live,
    definition: Digest,
    lists: u8,
    before: Option<&Manifest>,
    limits: &McpLimits,
) -> Result<Listing, Failure> {
    let mut left_out = LeftOut::default();
    let info = &live.info;
    let has = &info.capabilities;
    let mut manifest = blank(live, definition, before, limits);
    if lists & Lists::TOOLS != 0 {
        manifest.tools = match has.tools {
            // Without its tools it is nothing: an error here is one of the start.
            Some(_) => tools(live, limits, &mut left_out)
                .await
                .map_err(|error| failed(live, &error))?,
            None => Vec::new(),
        };
    }
    if lists & Lists::PROMPTS != 0 && has.prompts.is_some() {
        let listed = prompts(live, limits, &mut left_out).await;
        manifest.prompts = left_out.or_nothing("prompts", listed);
    }
    if lists & Lists::RESOURCES != 0 && has.resources.is_some() {
        let listed = resources(live, limits, &mut left_out).await;
        manifest.resources = left_out.or_nothing("resources", listed);
        let listed = templates(live, limits, &mut left_out).await;
        manifest.resource_templates = left_out.or_nothing("resource templates", listed);
    }
    Ok(Listing {
        manifest,
        warning: left_out.line(),
    })
}

fn failed(live: &Live, error: &ServiceError) -> Failure {
    let (cause, detail) = match error {
        ServiceError::McpError(error) => (
            FailureCause::Broken,
            format!(
                "it does not list its tools: {}",
                clean_cut(&error.message, Text::Line, 200)
            ),
        ),
        ServiceError::TransportClosed | ServiceError::TransportSend(_) => (
            FailureCause::Ended,
            "it ended while it listed its tools".to_owned(),
        ),
        _ => (FailureCause::Broken, "it does not list its tools".to_owned()),
    };
    Failure {
        server: live.name.clone(),
        cause,
        detail,
    }
}

fn blank(live: &Live, definition: Digest, before: Option<&Manifest>, limits: &McpLimits) -> Manifest {
    let info = &live.info;
    let line = |text: &str| clean_cut(text, Text::Line, MAX_NAME);
    let instructions = info.instructions.as_deref();
    let kept = |list: fn(&Manifest) -> &Vec<Value>| before.map(list).cloned().unwrap_or_default();
    Manifest {
        server: live.name.clone(),
        definition,
        name: info
            .server_info
            .as_ref()
            .map(|own| line(&own.name))
            .unwrap_or_default(),
        version: info
            .server_info
            .as_ref()
            .map(|own| line(&own.version))
            .unwrap_or_default(),
        protocol: line(&info.protocol_version.to_string()),
        instructions: instructions.map(|text| clean_cut(text, Text::Declaration, limits.max_description)),
        capabilities: serde_json::to_value(&info.capabilities)
            .ok()
            .filter(|value| size(value) <= MAX_ITEM)
            .unwrap_or_default(),
        tools: kept(|manifest| &manifest.tools),
        prompts: kept(|manifest| &manifest.prompts),
        resources: kept(|manifest| &manifest.resources),
        resource_templates: kept(|manifest| &manifest.resource_templates),
        at: Timestamp::now(),
    }
}

/// One list, page by page.
macro_rules! pages {
    ($live:expr, $limits:expr, $left_out:expr, $request:ident, $result:ident, $items:ident, $what:literal, $clean:expr) => {{
        let mut list = List::new($what, $limits);
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut request = $request::default();
            request.params = cursor
                .take()
                .map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let answer = $live.ask(ClientRequest::$request(request)).await?;
            let ServerResult::$result(page) = answer else {
                return Err(ServiceError::UnexpectedResponse);
            };
            for item in page.$items {
                list.add($clean(item, $limits));
            }
            match page.next_cursor {
                Some(next) if !list.is_full() => cursor = Some(next),
                next => {
                    list.cut |= next.is_some();
                    cursor = None;
                    break;
                }
            }
        }
        list.cut |= cursor.is_some();
        Ok(list.done($left_out))
    }};
}

async fn tools(live: &Live, limits: &McpLimits, left_out: &mut LeftOut) -> Result<Vec<Value>, ServiceError> {
    pages!(
        live,
        limits,
        left_out,
        ListToolsRequest,
        ListToolsResult,
        tools,
        "tools",
        tool
    )
}

async fn prompts(
    live: &Live,
    limits: &McpLimits,
    left_out: &mut LeftOut,
) -> Result<Vec<Value>, ServiceError> {
    pages!(
        live,
        limits,
        left_out,
        ListPromptsRequest,
        ListPromptsResult,
        prompts,
        "prompts",
        prompt
    )
}

async fn resources(
    live: &Live,
    limits: &McpLimits,
    left_out: &mut LeftOut,
) -> Result<Vec<Value>, ServiceError> {
    pages!(
        live,
        limits,
        left_out,
        ListResourcesRequest,
        ListResourcesResult,
        resources,
        "resources",
        resource
    )
}

async fn templates(
    live: &Live,
    limits: &McpLimits,
    left_out: &mut LeftOut,
) -> Result<Vec<Value>, ServiceError> {
    pages!(
        live,
        limits,
        left_out,
        ListResourceTemplatesRequest,
        ListResourceTemplatesResult,
        resource_templates,
        "resource templates",
        template
    )
}

/// A list as it grows.
struct List {
    what: &'static str,
    items: Vec<Value>,
    seen: HashSet<String>,
    room: usize,
    max: usize,
    dropped: usize,
    cut: bool,
}

impl List {
    fn new(what: &'static str, limits: &McpLimits) -> Self {
        Self {
            what,
            items: Vec::new(),
            seen: HashSet::new(),
            room: MAX_LIST,
            max: limits.max_tools,
            dropped: 0,
            cut: false,
        }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.max || self.room == 0
    }

    /// Adds an item with what it is known by, which has to be new.
    fn add(&mut self, item: Option<(String, Value)>) {
        if self.is_full() {
            self.cut = true;
            return;
        }
        let Some((key, value)) = item else {
            self.dropped += 1;
            return;
        };
        let bytes = size(&value);
        if bytes > MAX_ITEM || !self.seen.insert(key) {
            self.dropped += 1;
        } else if bytes > self.room {
            self.room = 0;
            self.cut = true;
        } else {
            self.room -= bytes;
            self.items.push(value);
        }
    }

    fn done(self, left_out: &mut LeftOut) -> Vec<Value> {
        if self.dropped > 0 {
            let Self { dropped, what, .. } = self;
            left_out.0.push(format!(
                "{dropped} {what} are left out: names that cannot be called, come twice, or too much text"
            ));
        }
        if self.cut {
            left_out
                .0
                .push(format!("it has more {} than {}", self.what, self.items.len()));
        }
        self.items
    }
}

/// What people are told about what is not shown.
#[derive(Default)]
struct LeftOut(Vec<String>);

impl LeftOut {
    /// Many servers say that they have what they then do not list.
    fn or_nothing(&mut self, what: &str, listed: Result<Vec<Value>, ServiceError>) -> Vec<Value> {
        listed.unwrap_or_else(|_| {
            self.0.push(format!("it does not list its {what}"));
            Vec::new()
        })
    }

    fn line(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("; "))
    }
}

/// What an item is known by, and the item.
fn item<T: Serialize>(key: String, item: &T) -> Option<(String, Value)> {
    Some((key, serde_json::to_value(item).ok()?))
}

fn tool(mut tool: Tool, limits: &McpLimits) -> Option<(String, Value)> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let name = tool.name.clone().into_owned();
    if name.is_empty() || name.len() > MAX_TOOL || !name.bytes().all(legal) {
        return None;
    }
    title(&mut tool.title);
    if let Some(text) = &mut tool.description {
        *text = clean_cut(text, Text::Declaration, limits.max_description).into();
    }
    tool.input_schema = schema(&tool.input_schema, limits).into();
    tool.output_schema = tool.output_schema.map(|own| schema(&own, limits).into());
    if let Some(hints) = &mut tool.annotations {
        title(&mut hints.title);
    }
    tool.icons = None;
    meta(&mut tool.meta);
    item(name, &tool)
}

fn prompt(mut prompt: Prompt, limits: &McpLimits) -> Option<(String, Value)> {
    let name = proper(&prompt.name, MAX_NAME)?;
    title(&mut prompt.title);
    description(&mut prompt.description, limits);
    for argument in prompt.arguments.iter_mut().flatten() {
        proper(&argument.name, MAX_NAME)?;
        title(&mut argument.title);
        description(&mut argument.description, limits);
    }
    prompt.icons = None;
    meta(&mut prompt.meta);
    item(name, &prompt)
}

fn resource(mut resource: Resource, limits: &McpLimits) -> Option<(String, Value)> {
    let uri = proper(&resource.uri, MAX_URI)?;
    resource.name = clean_cut(&resource.name, Text::Line, MAX_NAME);
    title(&mut resource.title);
    description(&mut resource.description, limits);
    title(&mut resource.mime_type);
    resource.icons = None;
    meta(&mut resource.meta);
    item(uri, &resource)
}

fn template(mut template: ResourceTemplate, limits: &McpLimits) -> Option<(String, Value)> {
    let uri = proper(&template.uri_template, MAX_URI)?;
    template.name = clean_cut(&template.name, Text::Line, MAX_NAME);
    title(&mut template.title);
    description(&mut template.description, limits);
    title(&mut template.mime_type);
    template.icons = None;
    meta(&mut template.meta);
    item(uri, &template)
}

/// A name that is used towards the server as it is: it is proper, or what it names is left out.
fn proper(name: &str, max: usize) -> Option<String> {
    (!name.is_empty() && name.len() <= max && clean(name, Text::Line) == name).then(|| name.to_owned())
}

fn title(title: &mut Option<String>) {
    if let Some(text) = title {
        *text = clean_cut(text, Text::Line, MAX_NAME);
    }
}

fn description(description: &mut Option<String>, limits: &McpLimits) {
    if let Some(text) = description {
        *text = clean_cut(text, Text::Declaration, limits.max_description);
    }
}

/// The texts of a schema are descriptions too, wherever they stand.
fn schema(own: &rmcp::model::JsonObject, limits: &McpLimits) -> rmcp::model::JsonObject {
    let mut own = own.clone();
    clean_fields(&mut own, Text::Declaration);
    own.values_mut()
        .for_each(|value| cut_texts(value, limits.max_description));
    own
}

fn cut_texts(value: &mut Value, max: usize) {
    match value {
        Value::String(text) if text.len() > max => *text = clean_cut(text, Text::Declaration, max),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, max)),
        Value::Object(fields) => fields.values_mut().for_each(|value| cut_texts(value, max)),
        _ => {}
    }
}

fn meta(meta: &mut Option<rmcp::model::MetaObject>) {
    if let Some(fields) = meta {
        clean_fields(fields, Text::Declaration);
        if size(fields) > 4 << 10 {
            *meta = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::ToolAnnotations;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> rmcp::model::JsonObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_tool_says_nothing_that_people_cannot_see() {
        let hidden = "\u{e0069}\u{200b}\u{202e}";
        let schema = object(json!({
            "type": "object",
            "properties": {"a": {"type": "string", "description": format!("the a{hidden}")}},
        }));
        let dirty = Tool::new("add", format!("Adds.{hidden}"), schema)
            .with_title(format!("Add{hidden}"))
            .with_annotations(ToolAnnotations::with_title(format!("Add{hidden}")));
        let (name, value) = tool(dirty, &McpLimits::default()).unwrap();
        assert_eq!(name, "add");
        assert_eq!(
            value,
            json!({
                "name": "add", "title": "Add", "description": "Adds.",
                "inputSchema": {"type": "object", "properties": {"a": {"type": "string", "description": "the a"}}},
                "annotations": {"title": "Add"},
            })
        );
    }

    #[test]
    fn names_that_cannot_be_called_are_left_out() {
        for name in ["", "a b", "a\u{200b}", "ä", "a/b", &"x".repeat(65)] {
            let made = Tool::new(name.to_owned(), "", object(json!({})));
            assert!(tool(made, &McpLimits::default()).is_none(), "{name}");
        }
        for name in ["a", "A.b-c_9", &"x".repeat(64)] {
            let made = Tool::new(name.to_owned(), "", object(json!({})));
            assert!(tool(made, &McpLimits::default()).is_some(), "{name}");
        }
    }

    #[test]
    fn long_texts_are_cut_wherever_they_stand() {
        let limits = McpLimits {
            max_description: 100,
            ..McpLimits::default()
        };
        let schema = object(json!({"properties": {"a": {"description": "y".repeat(1000)}}}));
        let (_, value) = tool(Tool::new("t", "x".repeat(1000), schema), &limits).unwrap();
        assert_eq!(value["description"].as_str().unwrap().len(), 100);
        let inner = &value["inputSchema"]["properties"]["a"]["description"];
        assert_eq!(inner.as_str().unwrap().len(), 100);
    }

    #[test]
    fn a_list_has_bounds_in_every_direction() {
        let limits = McpLimits {
            max_tools: 3,
            ..McpLimits::default()
        };
        let mut list = List::new("tools", &limits);
        let named = |name: &str| Some((name.to_owned(), json!({"name": name})));
        for added in [
            named("a"),
            named("a"),
            None,
            Some(("big".into(), json!("x".repeat(MAX_ITEM)))),
            named("b"),
        ] {
            list.add(added);
        }
        assert_eq!((list.items.len(), list.dropped, list.cut), (2, 3, false));
        list.add(named("c"));
        list.add(named("d"));
        let mut left_out = LeftOut::default();
        assert_eq!(list.done(&mut left_out).len(), 3);
        let line = left_out.line().unwrap();
        assert!(
            line.starts_with("3 tools are left out:") && line.ends_with("it has more tools than 3"),
            "{line}"
        );
    }
}
