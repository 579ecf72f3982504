//! Commands with a key: a request that is repeated comes back to the command that it asked for, also after this process or
//! another one was killed.
//!
//! ```text
//!  accepted in the store ──▶ started in the session ──▶ known to be started ──▶ ended: kept to be come back to
//! ```
//!
//! `session-init` starts an id once, and the id follows from the session and the key. So a request that was broken off
//! between the first two steps is repeated safely. What it cannot know is what ran in a container that is gone: a command
//! that may have run there is not run again.

use session_link::{ErrorKind as LinkKind, Link, Process};
use sha2::{Digest, Sha256};

use super::SessionManager;
use super::commands::{logged, process_id, spawn_spec};
use crate::ambient::Ambient;
use crate::command::{CommandExit, CommandRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::id::{CommandId, SessionId};
use crate::link_error::from_link;
use crate::session::SessionInfo;
use crate::store::{EndedCommand, KeyedCommand, KnownCommand};
use crate::terminal::TerminalProgram;

const OPERATION: &str = "run a command";

impl SessionManager {
    /// Starts the command of a request with a key, or finds it.
    pub(super) async fn start_keyed(
        &self,
        info: &SessionInfo,
        key: &str,
        request: &CommandRequest,
        (link, ambient): (&Link, &Ambient),
    ) -> Result<(CommandId, Process)> {
        let store = &self.inner.foundation.store;
        let id = keyed_id("command", &info.id, key);
        let command = KeyedCommand {
            id,
            key: key.to_owned(),
            digest: digest(request),
            argv: Some(logged(&request.argv)),
        };
        let process = process_id(&id)?;
        if store.accept_command(&info.id, command).await? == KnownCommand::Started {
            return match link.attach(&process, 0).await {
                Ok(process) => Ok((id, process)),
                Err(error) if error.kind() == LinkKind::NoSuchProcess => Err(gone(&id)),
                Err(error) => Err(from_link(OPERATION, error)),
            };
        }
        fail::fail_point!("manager.command.accepted", |_| crate::fault::link(OPERATION));
        let spec = spawn_spec(process, info, request, ambient);
        let process = link.run(spec).await;
        let process = process.map_err(|error| from_link(OPERATION, error))?;
        fail::fail_point!("manager.command.unrecorded", |_| crate::fault::link(OPERATION));
        store.command_started(id).await?;
        tracing::info!(session = %info.id, command = %id, "a command with a key was started");
        Ok((id, process))
    }

    /// Tells of the end of a command, and has the session forget what nobody can come back to.
    pub(super) fn end_command(&self, session: SessionId, command: CommandId, exit: &CommandExit, link: Link) {
        let store = self.inner.foundation.store.clone();
        let end = EventKind::CommandFinished {
            command,
            code: exit.code,
            signal: exit.signal,
            cause: exit.cause,
        };
        self.inner.errands.spawn(async move {
            let forget = match store.command_ended(&session, command, end).await {
                Ok(EndedCommand::Forget) => Some(command),
                Ok(EndedCommand::Keep(other)) => other,
                Err(error) => {
                    tracing::warn!(%session, %command, %error, "the end of a command could not be stored");
                    None
                }
            };
            if let Some(Ok(id)) = forget.map(|id| process_id(&id)) {
                let _ = link.forget(&id).await;
            }
        });
    }
}

/// The same for the same key of the same kind in the same session, wherever it is asked.
pub(super) fn keyed_id(kind: &str, session: &SessionId, key: &str) -> CommandId {
    let hash = Sha256::new()
        .chain_update(format!("cofferdam {kind}\n"))
        .chain_update(session.to_string())
        .chain_update("\n")
        .chain_update(key)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    CommandId::from_hash(bytes)
}

/// What makes two requests the same. Each part with its length, so that no two requests run into one another.
fn digest(request: &CommandRequest) -> String {
    let CommandRequest {
        argv,
        cwd,
        env,
        stdin,
        time_limit,
        output_limit,
        on_disconnect: _,
        idempotency_key: _,
    } = request;
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(&(argv.len() as u64).to_be_bytes());
    argv.iter().for_each(|argument| part(argument));
    part(format!("{cwd:?} {stdin} {time_limit:?} {output_limit:?}").as_bytes());
    for (name, value) in env {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    hex(&hash.finalize())
}

/// What makes two requests for a terminal the same.
pub(super) fn digest_of(program: &TerminalProgram) -> Result<String> {
    let text = serde_json::to_vec(program).map_err(|error| {
        Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the program cannot be written down",
        )
        .with_source(error)
    })?;
    Ok(hex(&Sha256::digest(text)))
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gone(id: &CommandId) -> Error {
    Error::new(
        ErrorKind::StateConflict,
        OPERATION,
        "it was run before, and nothing of it is left in the session",
    )
    .with_context("command", id)
    .with_retryable(false)
    .with_hint("see the session's events for its end; use another key to run it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_another_command() {
        let plain = |argv: &[&str]| CommandRequest::new(argv.iter().copied());
        let mut elsewhere = plain(&["a", "b"]);
        elsewhere.cwd = Some("src".to_owned());
        let mut with = plain(&["a", "b"]);
        with.env.insert("A".to_owned(), "b".to_owned());
        let mut keyed = plain(&["a", "b"]);
        keyed.idempotency_key = Some("key".to_owned());
        assert_eq!(digest(&plain(&["a", "b"])), digest(&keyed));
        let others = [plain(&["ab"]), plain(&["a", "b", ""]), elsewhere, with];
        for other in &others {
            assert_ne!(digest(other), digest(&keyed), "{other:?}");
        }
        let (one, two) = (SessionId::new(), SessionId::new());
        let id = |session, key| keyed_id("command", session, key);
        assert_eq!(id(&one, "key"), id(&one, "key"));
        assert_ne!(id(&one, "key"), id(&one, "kez"));
        assert_ne!(id(&one, "key"), id(&two, "key"));
        assert_ne!(id(&one, "key"), keyed_id("terminal", &one, "key"));
    }
}
