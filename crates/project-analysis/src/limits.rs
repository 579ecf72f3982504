//! How much of a project is looked at, and how long.

use std::time::Duration;

/// Bounds of one analysis. What is past them is left out, and the document says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files and directories together.
    pub entries: u64,
    /// How deep directories are entered.
    pub depth: usize,
    /// Bytes that are read, of all files together.
    pub total_bytes: u64,
    /// The largest source file whose text is looked at, in bytes.
    pub text_bytes: u64,
    /// The largest manifest or lock that is parsed, in bytes.
    pub manifest_bytes: u64,
    /// How long it may take.
    pub time: Duration,
}

impl Default for Limits {
    /// Enough for most monorepos: 200,000 entries, 64 levels, 512 MiB, 60 s.
    fn default() -> Self {
        Self {
            entries: 200_000,
            depth: 64,
            total_bytes: 512 << 20,
            text_bytes: 1 << 20,
            manifest_bytes: 8 << 20,
            time: Duration::from_secs(60),
        }
    }
}
