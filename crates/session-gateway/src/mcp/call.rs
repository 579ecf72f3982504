//! One request to a server: on whose behalf it is made, and how it can fail.

use std::fmt;

use async_trait::async_trait;
use rmcp::ErrorData;
use rmcp::model::{ClientResult, ProgressNotificationParam, ServerRequest};
use session_core::mcp::ServerName;
use tokio_util::sync::CancellationToken;

/// Who waits for the answer: the connection of a session's agent.
#[async_trait]
pub(crate) trait Caller: Send + Sync + 'static {
    /// The server says how far it is. With the caller's own token.
    async fn progress(&self, progress: ProgressNotificationParam);

    /// The server asks the agent something: sampling, elicitation, roots.
    ///
    /// # Errors
    /// What the agent's side answered instead, or that it cannot.
    async fn ask(&self, request: ServerRequest) -> Result<ClientResult, ErrorData>;

    /// Cancelled when the agent takes the call back, or is gone.
    fn cancelled(&self) -> CancellationToken;
}

/// Why a call has no answer of its server. The difference that matters to who called: may it have run?
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CallError {
    /// The server answered that it does not do this: passed on as it is.
    Answered(ErrorData),
    /// It never left: the server cannot be started, is held off after failures, wants a login, or is gone.
    NotSent(Failure),
    /// It was on its way when the connection ended, or no answer came in time: it may have run.
    MayHaveRun(Failure),
    /// The caller took it back.
    Cancelled,
}

/// What went wrong with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The server.
    pub server: ServerName,
    /// What kind.
    pub cause: FailureCause,
    /// One line for people: no secret, no control characters, at most 300 bytes.
    pub detail: String,
}

/// How servers fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// There is no such program, image or host.
    Missing,
    /// A reference to a secret leads nowhere.
    SecretMissing,
    /// It ended, or closed the connection.
    Ended,
    /// It did not answer in time.
    Silent,
    /// It broke the protocol: wrong answers, too much, no JSON.
    Broken,
    /// Its address may not be reached.
    Forbidden,
    /// A person has to log in.
    NeedsLogin,
    /// It refuses the credential.
    Unauthorized,
    /// After failures it is left alone for a while.
    HeldOff,
    /// The operator took it away, or there are too many instances.
    Unavailable,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(error) => f.write_str(&error.message),
            Self::NotSent(failure) => write!(
                f,
                "the MCP server {} could not be asked, nothing was run: {}",
                failure.server, failure.detail
            ),
            Self::MayHaveRun(failure) => write!(
                f,
                "the MCP server {} did not answer; the call may have run: {}",
                failure.server, failure.detail
            ),
            Self::Cancelled => f.write_str("the call was taken back"),
        }
    }
}
