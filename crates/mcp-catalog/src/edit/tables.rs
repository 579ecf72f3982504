//! Tables of a document, changed key by key so that what stands around them stays.

use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;
use toml_edit::{DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value};

use super::{OPERATION, list};
use crate::declared::to_json;

/// Writes `own` into `[section.name]`.
pub(crate) fn put<T: Serialize>(
    document: &mut DocumentMut,
    section: &str,
    name: &ServerName,
    own: &T,
) -> Result<()> {
    let wanted = values(own)?;
    let fresh = !document.as_table().is_empty() || !document.trailing().as_str().unwrap_or("").is_empty();
    let parent = document.entry(section).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let inline = parent.is_inline_table();
    let Some(parent) = parent.as_table_like_mut() else {
        return Err(Error::new(
            ErrorKind::Internal,
            OPERATION,
            "a section is no table",
        ));
    };
    if let Some(existing) = parent.get_mut(name.as_str()).and_then(Item::as_table_like_mut) {
        merge(existing, wanted);
        return Ok(());
    }
    let item = if inline {
        let mut table = InlineTable::new();
        merge(&mut table, wanted);
        Item::Value(Value::InlineTable(table))
    } else {
        let mut table = Table::new();
        if fresh {
            table.decor_mut().set_prefix("\n");
        }
        merge(&mut table, wanted);
        Item::Table(table)
    };
    parent.insert(name.as_str(), item);
    Ok(())
}

/// The keys of something of ours, each with a value that stands on one line.
fn values<T: Serialize>(own: &T) -> Result<Vec<(String, Value)>> {
    let failed = || {
        Error::new(
            ErrorKind::Internal,
            OPERATION,
            "the declaration cannot be written as TOML",
        )
    };
    let document = toml_edit::ser::to_document(own).map_err(|source| failed().with_source(source))?;
    document
        .into_table()
        .into_iter()
        .map(|(key, item)| Ok((key.to_string(), item.into_value().map_err(|_| failed())?)))
        .collect()
}

/// Changes a table into the wanted one. What says the same already is not touched.
fn merge(table: &mut dyn TableLike, wanted: Vec<(String, Value)>) {
    let gone: Vec<String> = table
        .iter()
        .map(|(key, _)| key.to_owned())
        .filter(|key| !wanted.iter().any(|(name, _)| name == key))
        .collect();
    for key in gone {
        table.remove(&key);
    }
    for (key, mut value) in wanted {
        match table.get_mut(&key) {
            Some(Item::Value(known)) => {
                if to_json(&Item::Value(known.clone())) != to_json(&Item::Value(value.clone())) {
                    *value.decor_mut() = known.decor().clone();
                    *known = value;
                }
            }
            Some(known) => {
                if to_json(known) != to_json(&Item::Value(value.clone())) {
                    table.remove(&key);
                    table.insert(&key, Item::Value(value));
                }
            }
            None => {
                table.insert(&key, Item::Value(value));
            }
        }
    }
}

/// Takes `[section.name]` away. A comment right above it goes with it; what stands apart further up stays.
pub(super) fn remove(document: &mut DocumentMut, section: &str, name: &ServerName) {
    let removed = document
        .get_mut(section)
        .and_then(Item::as_table_like_mut)
        .and_then(|parent| parent.remove(name.as_str()));
    let Some(Item::Table(removed)) = removed else {
        return;
    };
    let above = removed.decor().prefix().and_then(RawString::as_str).unwrap_or("");
    let Some((apart, _)) = above.rsplit_once("\n\n") else {
        return;
    };
    if apart.trim().is_empty() {
        return;
    }
    let apart = format!("{apart}\n\n");
    let after = removed.position().unwrap_or(isize::MAX);
    match following(document.as_table_mut(), after) {
        Some(next) => {
            let own = next.decor().prefix().and_then(RawString::as_str).unwrap_or("");
            let joined = format!("{apart}{}", own.trim_start_matches('\n'));
            next.decor_mut().set_prefix(joined);
        }
        None => {
            let trailing = document.trailing().as_str().unwrap_or("").to_owned();
            document.set_trailing(format!("{apart}{trailing}"));
        }
    }
}

/// The table whose header comes next in the file.
fn following(root: &mut Table, after: isize) -> Option<&mut Table> {
    fn positions(table: &Table, after: isize, best: &mut Option<isize>) {
        for (_, item) in table {
            let tables: Vec<&Table> = match item {
                Item::Table(table) => vec![table],
                Item::ArrayOfTables(tables) => tables.iter().collect(),
                _ => Vec::new(),
            };
            for table in tables {
                let position = table.position().filter(|position| *position > after);
                if let Some(position) = position.filter(|_| !table.is_implicit()) {
                    *best = Some(best.map_or(position, |best| best.min(position)));
                }
                positions(table, after, best);
            }
        }
    }
    fn at(table: &mut Table, position: isize) -> Option<&mut Table> {
        for (_, item) in table.iter_mut() {
            let tables: Vec<&mut Table> = match item {
                Item::Table(table) => vec![table],
                Item::ArrayOfTables(tables) => tables.iter_mut().collect(),
                _ => Vec::new(),
            };
            for table in tables {
                if table.position() == Some(position) && !table.is_implicit() {
                    return Some(table);
                }
                if let Some(found) = at(table, position) {
                    return Some(found);
                }
            }
        }
        None
    }
    let mut best = None;
    positions(root, after, &mut best);
    at(root, best?)
}

/// Takes a server out of the list of a profile.
pub(super) fn take_from_list(document: &mut DocumentMut, profile: &ServerName, server: &ServerName) {
    let list = document
        .get_mut("profiles")
        .and_then(Item::as_table_like_mut)
        .and_then(|profiles| profiles.get_mut(profile.as_str()))
        .and_then(Item::as_table_like_mut)
        .and_then(|profile| profile.get_mut("servers"))
        .and_then(Item::as_array_mut);
    if let Some(list) = list {
        // A list that was understood names each server once.
        let place = list
            .iter()
            .position(|value| value.as_str() == Some(server.as_str()));
        if let Some(index) = place {
            list::remove(list, index);
        }
    }
}
