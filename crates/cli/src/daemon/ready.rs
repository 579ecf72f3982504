//! What a daemon says about its own start: one line on its standard output, for whoever started it.

use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorReport, Result};

use super::start::OPERATION;

/// The line that a daemon writes when a client started it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    /// It listens.
    Ready {
        /// Its process.
        pid: u32,
    },
    /// It ended before it did.
    Refused(ErrorReport),
}

impl Started {
    /// The process, or the daemon's own error as one of ours.
    ///
    /// # Errors
    /// What the daemon could not do.
    pub fn outcome(self) -> Result<u32> {
        match self {
            Self::Ready { pid } => Ok(pid),
            Self::Refused(report) => {
                let mut error =
                    Error::new(report.code, OPERATION, report.message).with_retryable(report.retryable);
                if let Some(hint) = report.hint {
                    error = error.with_hint(hint);
                }
                Err(error)
            }
        }
    }
}
