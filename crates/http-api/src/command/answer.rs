//! What came of a command.

use serde::{Deserialize, Serialize};
use session_core::command::{CommandExit, CommandOutput};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::CommandId;
use utoipa::ToSchema;

use crate::octets::Octets;

/// A command that ended, with all of its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandAnswer {
    /// The command.
    #[schema(value_type = String, format = Uuid)]
    pub command: CommandId,
    /// Its standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Its standard error; what is not UTF-8 is replaced.
    pub stderr: String,
    /// Its standard output in base64, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub stdout_base64: Option<String>,
    /// Its standard error in base64, when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub stderr_base64: Option<String>,
    /// Whether output was cut at the bound of what an answer carries.
    pub truncated: bool,
    /// How it ended.
    pub exit: CommandExit,
}

/// A command that was started and goes on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandAccepted {
    /// The command.
    #[schema(value_type = String, format = Uuid)]
    pub command: CommandId,
}

impl CommandAnswer {
    /// The answer of `command`.
    pub fn new(command: CommandId, output: CommandOutput) -> Self {
        let (stdout, stdout_base64) = text(output.stdout);
        let (stderr, stderr_base64) = text(output.stderr);
        Self {
            command,
            stdout,
            stderr,
            stdout_base64,
            stderr_base64,
            truncated: output.truncated,
            exit: output.exit,
        }
    }

    /// The output, byte for byte.
    ///
    /// # Errors
    /// `LinkLost` when the server sent base64 that is none.
    pub fn into_output(self) -> Result<CommandOutput> {
        Ok(CommandOutput {
            stdout: bytes(self.stdout, self.stdout_base64)?,
            stderr: bytes(self.stderr, self.stderr_base64)?,
            truncated: self.truncated,
            exit: self.exit,
        })
    }
}

fn text(bytes: Vec<u8>) -> (String, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let bytes = error.as_bytes();
            (
                String::from_utf8_lossy(bytes).into_owned(),
                Some(Octets::base64(bytes)),
            )
        }
    }
}

fn bytes(text: String, base64: Option<String>) -> Result<Vec<u8>> {
    let Some(base64) = base64 else {
        return Ok(text.into_bytes());
    };
    Octets::from_base64(&base64).ok_or_else(|| {
        Error::new(
            ErrorKind::LinkLost,
            "read the output of the command",
            "what the server sent is no base64",
        )
    })
}
