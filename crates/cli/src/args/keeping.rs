//! The arguments of what keeps work and brings it back, and of what is known of the past.

use std::path::PathBuf;

use clap::Args;
use session_core::id::CheckpointId;

/// `cofferdam restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The session whose work it is: its id, the start of its id, or its name; it may have ended
    #[arg(value_name = "SESSION", required_unless_present = "backup")]
    pub session: Option<String>,
    /// This checkpoint instead of the newest; see cofferdam checkpoints
    #[arg(long, value_name = "ID", requires = "session")]
    pub checkpoint: Option<CheckpointId>,
    /// Make one new session however often it is asked for: the same key gives the same session
    #[arg(long, value_name = "KEY", requires = "session", conflicts_with = "patch")]
    pub idempotency_key: Option<String>,
    /// Write the work as a patch into this file, or to standard output with -, and change no session
    #[arg(long, value_name = "FILE", requires = "session")]
    pub patch: Option<PathBuf>,
    /// Bring the whole state directory back from this file of cofferdam backup; the daemon is stopped for it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["session", "checkpoint", "patch", "idempotency_key"])]
    pub backup: Option<PathBuf>,
}

/// `cofferdam backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The file to write; one that exists is not replaced
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `cofferdam gc`.
#[derive(Debug, Clone, Copy, Args)]
pub struct GcArgs {
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// `cofferdam audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Only what was done to this session: its id, the start of its id, or its name
    #[arg(long, value_name = "SESSION")]
    pub session: Option<String>,
    /// Only the newest so many lines
    #[arg(short = 'n', long, value_name = "NUMBER", conflicts_with = "since")]
    pub tail: Option<usize>,
    /// Only lines after this number
    #[arg(long, value_name = "SEQ")]
    pub since: Option<u64>,
    /// Go on with what is written
    #[arg(short, long)]
    pub follow: bool,
    /// Read the whole log and say whether it is as it was written; fails when it is not
    #[arg(long, conflicts_with_all = ["session", "tail", "since", "follow"])]
    pub verify: bool,
}
