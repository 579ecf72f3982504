//! What nobody wants any more: found and removed by the reconciler, told by `cofferdam gc`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;

/// What a run of the reconciler did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GarbageReport {
    /// Whether nothing was done: it says what would be.
    pub dry_run: bool,
    /// What was removed.
    pub removed: Vec<Garbage>,
    /// Sessions whose making or end had been broken off, brought to an end.
    pub finished: Vec<SessionId>,
    /// What could not be removed now; the next run tries again.
    pub left: Vec<Garbage>,
}

impl GarbageReport {
    /// Whether nothing is left that should be gone.
    ///
    /// # Errors
    /// `EngineFailed` naming the first thing that was left.
    pub fn complete(&self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some(first) => Err(Error::new(
                ErrorKind::EngineFailed,
                "remove what no session wants",
                format!("{} things are left", self.left.len()),
            )
            .with_context("first", &first.name)
            .with_context("reason", &first.reason)),
        }
    }
}

/// One thing that no record wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Garbage {
    /// What it is.
    pub kind: GarbageKind,
    /// Its name on the engine, or its path below the state directory.
    pub name: String,
    /// Why it is garbage, or why it could not be removed.
    pub reason: String,
}

/// What kind of thing is garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum GarbageKind {
    Container,
    Storage,
    Network,
    Image,
    Directory,
    Socket,
    File,
    Checkpoint,
}

impl GarbageKind {
    /// As it is written, and as the audit log names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Storage => "storage",
            Self::Network => "network",
            Self::Image => "image",
            Self::Directory => "directory",
            Self::Socket => "socket",
            Self::File => "file",
            Self::Checkpoint => "checkpoint",
        }
    }
}
