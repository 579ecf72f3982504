//! From a place in the data to a line of the file.

use serde_json::Value as Json;
use toml_edit::{Item, Value};

/// The line at an offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// What the parser found wrong, without what it quotes.
pub(super) fn syntax(said: &str) -> String {
    if said.contains("duplicate key") {
        return "a name or a key stands here twice".to_owned();
    }
    // Its messages are fixed texts; one that quotes would do it with one of these.
    if said.contains(['`', '"', '\'', '\n']) {
        return "this is not TOML".to_owned();
    }
    format!("this is not TOML: {said}")
}

/// The same data. What JSON does not have, dates and numbers without a value, becomes null: no key takes them.
pub(crate) fn to_json(item: &Item) -> Json {
    match item {
        Item::None => Json::Null,
        Item::Value(value) => value_to_json(value),
        Item::Table(table) => table
            .iter()
            .map(|(key, item)| (key.to_owned(), to_json(item)))
            .collect(),
        Item::ArrayOfTables(tables) => tables
            .iter()
            .map(|table| {
                table
                    .iter()
                    .map(|(key, item)| (key.to_owned(), to_json(item)))
                    .collect::<Json>()
            })
            .collect(),
    }
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Integer(number) => (*number.value()).into(),
        Value::Float(number) => (*number.value()).into(),
        Value::Boolean(flag) => (*flag.value()).into(),
        // Never null, which would read as left out.
        Value::Datetime(_) => Json::Array(Vec::new()),
        Value::Array(items) => items.iter().map(value_to_json).collect(),
        Value::InlineTable(table) => table
            .iter()
            .map(|(key, value)| (key.to_owned(), value_to_json(value)))
            .collect(),
    }
}

/// Where the deepest part of a place that exists begins, in bytes.
pub(super) fn find(root: &Item, path: &[String]) -> Option<usize> {
    let mut item = root;
    let mut found = None;
    for step in path {
        if let Some(table) = item.as_table_like() {
            let Some((key, next)) = table.get_key_value(step) else {
                break;
            };
            found = key
                .span()
                .or_else(|| next.span())
                .map(|span| span.start)
                .or(found);
            item = next;
        } else {
            let next = step.parse::<usize>().ok().and_then(|index| match item {
                Item::Value(Value::Array(items)) => items.get(index).and_then(Value::span),
                Item::ArrayOfTables(tables) => tables.get(index).and_then(toml_edit::Table::span),
                _ => None,
            });
            found = next.map(|span| span.start).or(found);
            let Some(next) = step.parse::<usize>().ok().and_then(|index| item.get(index)) else {
                break;
            };
            item = next;
        }
    }
    found
}
