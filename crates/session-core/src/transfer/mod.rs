//! Files between the host and a session, as tar streams.
//!
//! [`pack`] makes an archive of what the operator named. [`unpack`] takes one that a session made: an attacker's.

use std::path::Path;

use futures::StreamExt;

use crate::api::ArchiveStream;
use crate::error::{Error, ErrorKind, Result};
use crate::session::CopyReport;

/// How a file or directory of the host is packed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackOptions {
    /// Leave out what `.gitignore` files exclude. `.git` itself and hidden files are always packed.
    pub respect_gitignore: bool,
    /// The entries of a directory stand at the archive's root instead of below the directory's name.
    pub as_contents: bool,
}

/// Bounds of an archive from a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes of content, all files together.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Directories within each other.
    pub depth: usize,
    /// How long the stream may say nothing.
    pub idle: std::time::Duration,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 10_000_000,
            depth: 128,
            idle: std::time::Duration::from_secs(60),
        }
    }
}

/// How an archive from a session is unpacked.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnpackOptions {
    /// Its bounds.
    pub limits: ArchiveLimits,
    /// Apply what could run on the host, such as `.git/hooks`; otherwise it is withheld.
    pub allow_executable_config: bool,
    /// Replace what is at the destination, in one step.
    pub overwrite: bool,
}

/// What came of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// How much was written.
    pub report: CopyReport,
    /// The paths that were not applied, escaped for display.
    pub withheld: Vec<String>,
}

/// Packs a file or directory of the host.
pub fn pack(source: &Path, options: PackOptions) -> ArchiveStream {
    let _ = (source, options);
    futures::stream::once(async { Err(Error::new(ErrorKind::Internal, "pack files", "not yet")) }).boxed()
}

/// Unpacks an archive that a session made.
pub async fn unpack(archive: ArchiveStream, dest: &Path, options: UnpackOptions) -> Result<Unpacked> {
    let _ = (archive, dest, options);
    Err(Error::new(ErrorKind::Internal, "unpack files", "not yet"))
}
