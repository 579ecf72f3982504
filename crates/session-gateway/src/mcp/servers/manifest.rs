//! Asking a server what it has, and making that fit to be shown.
//!
//! What a server says of itself is the longest text that it gets into a model without anybody asking, so it is bounded in
//! every direction: pages, items, bytes of an item and of a list.

mod items;

use std::collections::HashSet;

use jiff::Timestamp;
use mcp_catalog::{Digest, Manifest};
use rmcp::model::{
    ClientRequest, ListPromptsRequest, ListResourceTemplatesRequest, ListResourcesRequest, ListToolsRequest,
    PaginatedRequestParams, ServerResult,
};
use rmcp::service::ServiceError;
use serde_json::Value;

use self::items::{MAX_ITEM, MAX_NAME, prompt, resource, template, tool};
use super::clean::{Text, clean_cut};
use super::hub::Lists;
use super::live::Live;
use super::result::size;
use crate::mcp::call::{Failure, FailureCause};
use crate::mcp::config::McpLimits;

/// Pages of one list.
const MAX_PAGES: usize = 64;
/// Bytes of one list.
const MAX_LIST: usize = 8 << 20;

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::items::MAX_ITEM;
    use super::*;

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
