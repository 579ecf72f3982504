//! One item of a list, made fit to be shown; or left out when it cannot be.

use rmcp::model::{JsonObject, MetaObject, Prompt, Resource, ResourceTemplate, Tool};
use serde::Serialize;
use serde_json::Value;

use super::super::clean::{Text, clean, clean_cut, clean_fields};
use super::super::hub::MAX_URI;
use super::super::result::size;
use crate::mcp::config::McpLimits;

/// Bytes of one item, schemas included.
pub(super) const MAX_ITEM: usize = 64 << 10;
/// The longest title, and the longest name of what is no tool.
pub(super) const MAX_NAME: usize = 256;
/// The longest name of a tool, so that there is room for the server's before it.
const MAX_TOOL: usize = 64;

/// What an item is known by, and the item.
fn item<T: Serialize>(key: String, item: &T) -> Option<(String, Value)> {
    Some((key, serde_json::to_value(item).ok()?))
}

pub(super) fn tool(mut tool: Tool, limits: &McpLimits) -> Option<(String, Value)> {
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
    // Nobody approves it, so nobody is shown it.
    tool.meta = None;
    item(name, &tool)
}

pub(super) fn prompt(mut prompt: Prompt, limits: &McpLimits) -> Option<(String, Value)> {
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

pub(super) fn resource(mut resource: Resource, limits: &McpLimits) -> Option<(String, Value)> {
    let uri = proper(&resource.uri, MAX_URI)?;
    resource.name = clean_cut(&resource.name, Text::Line, MAX_NAME);
    title(&mut resource.title);
    description(&mut resource.description, limits);
    title(&mut resource.mime_type);
    resource.icons = None;
    meta(&mut resource.meta);
    item(uri, &resource)
}

pub(super) fn template(mut template: ResourceTemplate, limits: &McpLimits) -> Option<(String, Value)> {
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
fn schema(own: &JsonObject, limits: &McpLimits) -> JsonObject {
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

fn meta(meta: &mut Option<MetaObject>) {
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
}
