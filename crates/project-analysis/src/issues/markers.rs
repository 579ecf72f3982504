//! TODO, FIXME, HACK, XXX.

use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Issues, Place, excerpt};

/// A note to come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Marker {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
    /// `TODO`, `FIXME`, `HACK` or `XXX`.
    pub kind: String,
    /// The line.
    pub text: String,
}

/// How many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub struct MarkerCounts {
    pub todo: u64,
    pub fixme: u64,
    pub hack: u64,
    pub xxx: u64,
}

/// In capitals, as a word, and not as part of a name or a template such as `XXXX`.
static MARKER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|[^A-Za-z0-9_/.-])(TODO|FIXME|HACK|XXX)(?:[^A-Za-z0-9_/-]|$)").ok());

pub(super) fn look(place: &Place<'_>, number: u64, line: &str, issues: &mut Issues) {
    let Some(found) = MARKER.as_ref().and_then(|marker| marker.captures(line)) else {
        return;
    };
    let kind = &found[1];
    let count = match kind {
        "TODO" => &mut issues.marker_counts.todo,
        "FIXME" => &mut issues.marker_counts.fixme,
        "HACK" => &mut issues.marker_counts.hack,
        _ => &mut issues.marker_counts.xxx,
    };
    *count += 1;
    issues.markers.push(Marker {
        path: place.file.path.clone(),
        line: number,
        kind: kind.to_owned(),
        text: excerpt(line),
    });
}
