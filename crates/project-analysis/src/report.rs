//! What all documents have in common.
//!
//! Texts in a document come from the project: they are data. Each is one line, cut to a bounded length, and what looks
//! like a secret in it is masked. Lists hold samples and say how many there are in all.

use schemars::JsonSchema;
use serde::Serialize;

use crate::dependencies::Dependencies;
use crate::health::Health;
use crate::issues::Issues;
use crate::structure::Structure;

/// The version of the documents: raised when a field changes its meaning or goes; new fields come without.
pub const SCHEMA_VERSION: u32 = 1;
/// The most samples of a list.
pub const MAX_SAMPLES: usize = 200;

/// One analysis of a project.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Document {
    /// The version of this form of document.
    pub schema_version: u32,
    /// The version of the program that made it.
    pub tool_version: String,
    /// How much of the project was looked at.
    pub coverage: Coverage,
    /// What was found, with the analysis's name in `analysis_type`.
    #[serde(flatten)]
    pub analysis: Analysis,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "analysis_type", rename_all = "snake_case")]
pub enum Analysis {
    /// How it is built up.
    Structure(Structure),
    /// How well it is kept.
    Health(Health),
    /// What it depends on.
    Dependencies(Dependencies),
    /// What should be looked at.
    Issues(Issues),
}

/// How much of a project was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Coverage {
    /// Whether no limit was reached.
    pub complete: bool,
    /// The limits that were reached.
    pub limits_reached: Vec<Bound>,
    /// Regular files that were found.
    pub files: u64,
    /// Directories that were entered.
    pub directories: u64,
    /// Bytes of all files that were found.
    pub bytes: u64,
    /// What was left out.
    pub skipped: Skipped,
}

/// What a walk left out, by reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Skipped {
    /// Excluded by a `.gitignore`.
    pub ignored: u64,
    /// Directories of installed packages, caches and version control.
    pub not_source: u64,
    /// Symlinks, which are never followed.
    pub symlinks: u64,
    /// Sockets, pipes and devices.
    pub special: u64,
    /// What could not be opened.
    pub unreadable: u64,
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// More files and directories than are looked at.
    Entries,
    /// Deeper directories than are entered.
    Depth,
    /// More bytes than are read.
    Bytes,
    /// More time than there is.
    Time,
    /// Files that are too large to be looked into.
    FileSize,
}

/// Samples of something, and how much of it there is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Samples<T> {
    /// How many there are.
    pub total: u64,
    /// The first of them, at most 200.
    pub items: Vec<T>,
}

impl<T> Default for Samples<T> {
    fn default() -> Self {
        Self {
            total: 0,
            items: Vec::new(),
        }
    }
}

impl<T> Samples<T> {
    /// Counts it, and keeps it while there is room.
    pub(crate) fn push(&mut self, item: T) {
        self.total += 1;
        if self.items.len() < MAX_SAMPLES {
            self.items.push(item);
        }
    }
}

impl<T> FromIterator<T> for Samples<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut samples = Self::default();
        for item in items {
            samples.push(item);
        }
        samples
    }
}
