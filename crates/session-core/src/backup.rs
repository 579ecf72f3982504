//! Backups: everything that must not be lost, in one file, taken while work goes on.
//!
//! ```text
//! a tar archive, members in this order
//!   manifest.json        what follows, with the size and the SHA-256 of each
//!   store.db             the store as it was at one moment
//!   audit.head           where its audit log ended
//!   keys/…               what signs and what lets in
//!   storage/…            what front ends must not lose, such as which tools of MCP servers people know
//!   policy.toml          the operator's policy, when the caller has one
//!   checkpoints/aa/…     the content that the store's checkpoints name
//! ```
//!
//! The archive has every secret of the state directory; whoever writes it keeps it from others. It has no containers and
//! no workspaces: a session whose container is still there when it is restored goes on with it, any other is
//! `Interrupted`.
//!
//! Restoring unpacks and checks everything beside what is there, and only then swaps: what was there before is kept in a
//! directory of its own, and a process that dies in the middle leaves it to the next one to finish.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

pub use read::restore_backup;
pub use write::backup;

const FORMAT: &str = "cofferdam backup 1";
const MANIFEST: &str = "manifest.json";
const STORE: &str = "store.db";
const AUDIT_HEAD: &str = "audit.head";
const KEYS: &str = "keys";
const CHECKPOINTS: &str = "checkpoints";
const STORAGE: &str = "storage";
const POLICY: &str = "policy.toml";
/// The longest manifest: some 400,000 checkpoints.
const MAX_MANIFEST: u64 = 64 * 1024 * 1024;
/// The longest policy.
const MAX_POLICY: u64 = 16 * 1024 * 1024;
/// The longest name below the state directory.
const MAX_NAME: usize = 256;
/// How many parts a name has at most.
const MAX_PARTS: usize = 6;

/// What a backup has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The moment whose state it has.
    pub taken_at: Timestamp,
    /// How many files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Content of checkpoints, by its SHA-256, that was named and not there or not what its name says.
    pub missing: Vec<String>,
    /// Files of others that are not in it: they have names that nothing of ours has and that no restoring takes.
    pub left_out: Vec<String>,
}

/// What a restoring did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// The moment whose state is back.
    pub taken_at: Timestamp,
    /// How many files came back.
    pub files: u64,
    /// Where what was there before is kept.
    pub kept_aside: PathBuf,
    /// How many sessions live again.
    pub sessions: u64,
    /// How many turns waited or ran at that moment; they failed, since what became of them is not known.
    pub failed_turns: u64,
    /// The operator's policy of that moment, for its caller to put in its place.
    pub policy: Option<Vec<u8>>,
}

/// The first member of an archive.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: String,
    taken_at: Timestamp,
    /// The version that wrote it, for people.
    version: String,
    files: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Whether a backup may have a file of this name: the one rule for what is written and what is read.
fn is_allowed(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    if name.len() > MAX_NAME {
        return false;
    }
    let mut parts = name.split('/');
    match (parts.next(), name.split('/').count()) {
        (Some(STORE | AUDIT_HEAD | POLICY), 1) => true,
        (Some(KEYS | STORAGE), 2..=MAX_PARTS) => parts.all(plain),
        (Some(CHECKPOINTS), 3) => {
            let (place, sha256) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let digits = sha256
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            sha256.len() == 64 && digits && sha256.starts_with(place) && place.len() == 2
        }
        _ => false,
    }
}

fn io_error(operation: &'static str, message: &'static str, source: std::io::Error) -> Error {
    let full = source.kind() == std::io::ErrorKind::StorageFull;
    let error = Error::new(ErrorKind::HostIo, operation, message)
        .with_context("cause", &source)
        .with_retryable(full)
        .with_source(source);
    if full {
        error.with_hint("free space on the file system, then try again")
    } else {
        error
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
