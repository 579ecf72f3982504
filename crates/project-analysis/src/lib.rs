//! What can be said of a project from its files alone: structure, health, dependencies, issues.
//!
//! An analysis reads a directory and gives one JSON document with a schema ([`schema`]). It needs no network, no model and
//! no program but `git`, which is asked for the history when it is there.
//!
//! The directory is an attacker's: every symlink is left alone, every file is opened beneath the opened root, and bytes,
//! files, depth, time and output are bounded ([`Limits`]). What was left out is said in the document ([`report::Coverage`]).
//! The same files give the same document.
//!
//! | module | what it holds |
//! |---|---|
//! | `project` | the walk: which files there are, and reading them |
//! | `manifests` | what package managers wrote down, parsed once for all analyses |
//! | [`structure`], [`health`], [`dependencies`], [`issues`] | one analysis each |
//! | [`report`] | what all documents have in common |

pub mod dependencies;
mod error;
pub mod health;
pub mod issues;
mod kind;
mod limits;
mod manifests;
mod project;
pub mod report;
pub mod schema;
pub mod structure;
mod text;

use std::path::Path;

pub use self::error::{Error, ErrorKind};
pub use self::kind::AnalysisKind;
pub use self::limits::Limits;
pub use self::report::{Analysis, Document};

use self::project::Project;
use self::report::SCHEMA_VERSION;

/// Analyses the project at `root`.
///
/// # Errors
/// When `root` is no directory that can be read. Whatever is below it is no error: the document says what was left out.
pub fn analyze(root: &Path, kind: AnalysisKind, limits: &Limits) -> Result<Document, Error> {
    let project = Project::open(root, limits)?;
    let analysis = match kind {
        AnalysisKind::Structure => Analysis::Structure(structure::of(&project)),
        AnalysisKind::Health => Analysis::Health(health::of(&project, root)),
        AnalysisKind::Dependencies => Analysis::Dependencies(dependencies::of(&project)),
        AnalysisKind::Issues => Analysis::Issues(issues::of(&project)),
    };
    Ok(Document {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        coverage: project.coverage(),
        analysis,
    })
}
