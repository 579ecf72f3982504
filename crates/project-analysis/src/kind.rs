//! The analyses by name.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// An analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnalysisKind {
    /// Languages, sizes, entry points, modules.
    Structure,
    /// Tests, CI, docs, lint and format set-up, licence, churn.
    Health,
    /// Manifests and locks.
    Dependencies,
    /// Markers, secrets, oversized files, dead links, known-bad patterns.
    Issues,
}

impl AnalysisKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Structure, Self::Health, Self::Dependencies, Self::Issues];

    /// The name, as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Health => "health",
            Self::Dependencies => "dependencies",
            Self::Issues => "issues",
        }
    }
}

impl fmt::Display for AnalysisKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AnalysisKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| {
            Error::new(ErrorKind::UnknownAnalysis, "there is no such analysis")
                .hint("choose structure, health, dependencies or issues")
        })
    }
}
