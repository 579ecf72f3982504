//! Bounds of what callers send: names, labels, environments, argument vectors, prompts, resources.

use crate::command::CommandRequest;
use crate::error::Result;
use crate::session::CreateSession;

/// Judges a request for a session, all but its host directories (see [`super::mounts`]).
pub fn validate_create(request: &CreateSession) -> Result<()> {
    let _ = request;
    Ok(())
}

/// Judges a command.
pub fn validate_command(request: &CommandRequest) -> Result<()> {
    let _ = request;
    Ok(())
}

/// Judges a prompt.
pub fn validate_prompt(prompt: &str) -> Result<()> {
    let _ = prompt;
    Ok(())
}
/// Judges a path inside a session, for copies: absolute, or relative to the workspace.
pub fn validate_copy_path(path: &str) -> Result<()> {
    let _ = path;
    Ok(())
}
