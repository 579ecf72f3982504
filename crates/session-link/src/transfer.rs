//! What the two ends say about files: a tar stream in, a tar stream out, and what came of it.

use serde::{Deserialize, Serialize};

/// Bounds of an archive that is unpacked in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyInOptions {
    /// At most so many bytes of file contents.
    pub max_bytes: u64,
    /// At most so many entries.
    pub max_entries: u64,
    /// Whether the modification times of the archive are kept.
    pub preserve_times: bool,
}

impl Default for CopyInOptions {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 30,
            max_entries: 10_000_000,
            preserve_times: true,
        }
    }
}

/// Bounds of an archive that is made in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOutOptions {
    /// At most so many bytes of file contents.
    pub max_bytes: u64,
    /// At most so many entries.
    pub max_entries: u64,
    /// Names (one path component each) that are left out wherever they occur, like `node_modules`.
    #[serde(default)]
    pub exclude: Vec<String>,
}

impl Default for CopyOutOptions {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 30,
            max_entries: 10_000_000,
            exclude: Vec::new(),
        }
    }
}

/// What a transfer moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReport {
    /// Regular files and hard links.
    pub files: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Sockets, pipes and devices, which are never copied.
    pub skipped: u64,
    /// Files that changed their size while they were read, and were padded or cut to the size announced.
    pub changed: u64,
}
