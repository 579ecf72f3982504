//! What should be looked at: markers, secrets, oversized files, dead links, known-bad patterns.
//!
//! Files are read once. A finding names its place and shows one bounded line of it, in which whatever looks like a secret
//! is masked; the value of a secret is never in the document.

pub mod files;
pub mod links;
pub mod markers;
pub mod patterns;
pub mod secrets;
pub mod sizes;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::links::DeadLink;
pub use self::markers::{Marker, MarkerCounts};
pub use self::patterns::{BadPattern, Severity};
pub use self::secrets::SecretFinding;
pub use self::sizes::OversizedFile;
use crate::project::{File, Project};
use crate::report::Samples;
use crate::text;

/// A line longer than this is generated or data: only its beginning is looked at, in bytes.
const MAX_LINE: usize = 4 << 10;
/// How far a large file is searched for secrets, in bytes.
const MAX_LINES: usize = 200_000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
pub struct Issues {
    /// How many markers there are of each kind.
    pub marker_counts: MarkerCounts,
    /// TODO, FIXME, HACK, XXX.
    pub markers: Samples<Marker>,
    /// What looks like a secret.
    pub secrets: Samples<SecretFinding>,
    /// Files that are unusually large.
    pub oversized_files: Samples<OversizedFile>,
    /// Relative links of Markdown files that lead nowhere.
    pub dead_links: Samples<DeadLink>,
    /// What is known to go wrong.
    pub patterns: Samples<BadPattern>,
}

pub(crate) fn of(project: &Project) -> Issues {
    let mut issues = Issues::default();
    for file in &project.files {
        files::look(file, &mut issues);
        sizes::look(file, &mut issues);
        let Some(content) = project.read_text(file, project.limits.text_bytes) else {
            continue;
        };
        read(project, file, &content.0, &mut issues);
    }
    issues
}

fn read(project: &Project, file: &File, content: &str, issues: &mut Issues) {
    let place = Place {
        file,
        is_lock: is_generated(file),
        is_markdown: matches!(file.extension().as_deref(), Some("md" | "markdown" | "mdx")),
    };
    let mut links = links::Reader::new(project, file);
    for (index, line) in content.lines().take(MAX_LINES).enumerate() {
        if index % 1024 == 0 && !project.has_time() {
            return;
        }
        let line = head(line);
        let number = index as u64 + 1;
        secrets::look(&place, number, line, issues);
        if place.is_lock {
            continue;
        }
        markers::look(&place, number, line, issues);
        patterns::look(&place, number, line, issues);
        if place.is_markdown {
            links.look(number, line, issues);
        }
    }
}

/// Where a line is.
pub(crate) struct Place<'a> {
    file: &'a File,
    /// Written by a program: hashes everywhere, and nobody's words.
    is_lock: bool,
    is_markdown: bool,
}

fn is_generated(file: &File) -> bool {
    let name = file.name();
    name.ends_with(".lock")
        || name.ends_with(".sum")
        || name.ends_with(".min.js")
        || name.ends_with(".min.css")
        || name.ends_with(".map")
        || name.ends_with(".svg")
        || matches!(
            name,
            "package-lock.json"
                | "npm-shrinkwrap.json"
                | "pnpm-lock.yaml"
                | "gradle.lockfile"
                | "Pipfile.lock"
        )
}

/// The beginning of a line.
fn head(line: &str) -> &str {
    if line.len() <= MAX_LINE {
        return line;
    }
    let mut end = MAX_LINE;
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

fn excerpt(line: &str) -> String {
    text::excerpt(line)
}
