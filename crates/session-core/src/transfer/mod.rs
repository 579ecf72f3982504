//! Files between the host and a session, as tar streams.
//!
//! The two directions trust differently. [`pack()`] reads what the operator named; it follows no symlink below it.
//! [`unpack()`] takes an archive that a session made, which is an attacker's: every byte of it is bounded before it is
//! used, everything happens beneath one opened directory, and either all of it appears on the host or nothing.

mod look;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

use std::time::Duration;

pub use self::look::{Shape, is_directory, look};
pub(crate) use self::pack::pack_judged;
pub use self::pack::{pack, pack_file};
pub use self::unpack::{could_run_on_host, unpack};
use crate::session::CopyReport;

/// What an archive is made of: a header fills one block, content a whole number of them.
const BLOCK: usize = 512;
/// What a header's fields for names hold, in bytes. Longer names stand in a member of their own.
const NAME_BYTES: usize = 100;
/// The longest path in an archive, in bytes: what the kernel takes.
const MAX_PATH_BYTES: usize = 4095;

/// How a file or directory of the host is packed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackOptions {
    /// Leave out what `.gitignore` files exclude. `.git` itself and hidden files are packed in any case.
    pub respect_gitignore: bool,
    /// The entries of a directory stand at the archive's root instead of below the directory's name.
    pub as_contents: bool,
}

/// Bounds of an archive from a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes of content and of headers that describe other headers, all together.
    pub bytes: u64,
    /// Headers of any kind: files, directories, links and what describes them.
    pub entries: u64,
    /// Directories within each other.
    pub depth: usize,
    /// How long the stream may say nothing.
    pub idle: Duration,
}

impl Default for ArchiveLimits {
    /// 64 GiB, ten million entries, 128 directories deep, 60 seconds.
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 10_000_000,
            depth: 128,
            idle: Duration::from_secs(60),
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
    /// Replace what is in the way. Otherwise that is an error.
    pub overwrite: bool,
    /// The archive holds the contents of a directory, as a session packs one, even if that is one entry only. An archive
    /// with an entry for the root itself (`./`) says so by itself.
    pub contents: bool,
}

/// What came of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// How much was written.
    pub report: CopyReport,
    /// The paths that were not applied, escaped for display: what could run on the host, and symlinks that lead out. A
    /// withheld directory stands for everything below it. At most 1,000; see [`Unpacked::withheld_count`].
    pub withheld: Vec<String>,
    /// How many entries were not applied, those below withheld directories included.
    pub withheld_count: u64,
}
