//! What goes wrong with a server, in the words of the rest of the command line.

use session_core::error::{Error, ErrorKind};
use session_gateway::mcp::{Failure, FailureCause};

use super::McpContext;

/// The error of a failure, with what to do about it.
pub(super) fn error(operation: &'static str, failure: Failure, context: &McpContext<'_>) -> Error {
    use FailureCause as C;
    let server = &failure.server;
    let log = context.log(server);
    let see_log = format!("its last words may be in {}", log.display());
    let (kind, hint) = match failure.cause {
        C::Missing => (
            ErrorKind::ProgramNotFound,
            format!("`cofferdam mcp validate {server}` says what is missing"),
        ),
        C::SecretMissing => (
            ErrorKind::InvalidArgument,
            format!("`cofferdam mcp describe {server}` says where it is looked for"),
        ),
        C::Ended | C::Silent | C::Broken => (ErrorKind::AgentFailed, see_log),
        C::Forbidden => (
            ErrorKind::InvalidArgument,
            "a server on this host or in a private network is declared with --private".to_owned(),
        ),
        C::NeedsLogin => (
            ErrorKind::StateConflict,
            format!("log in with `cofferdam mcp login {server}`"),
        ),
        C::Unauthorized => (
            ErrorKind::StateConflict,
            format!("see whether the secret is right: `cofferdam mcp describe {server}` says where it is"),
        ),
        C::HeldOff | C::Unavailable => (ErrorKind::StateConflict, see_log),
    };
    Error::new(kind, operation, failure.detail)
        .with_context("server", server)
        .with_hint(hint)
}
