//! [`HttpSessions`]: the client, and what it can ask of the server itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http_api::{ServerInfo, StopBody, TokenBody, TokenCreated, TokenInfo, paths};
use hyper::{Method, StatusCode};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use session_core::error::Result;
use session_core::id::SessionId;
use session_core::session::SessionInfo;

use crate::address::Address;
use crate::answer;
use crate::options::ConnectOptions;
use crate::transport::{Call, Repeat, Transport};

/// The sessions of a server, by [`session_core::api::SessionApi`]. Cheap to clone; clones share their connections.
///
/// Nothing is connected before something is asked, and what is idle is closed after a while. Dropping the last clone
/// ends the pool; [`HttpSessions::close`] also waits for it.
#[derive(Clone)]
pub struct HttpSessions {
    pub(crate) transport: Arc<Transport>,
}

impl HttpSessions {
    /// The server behind a Unix socket.
    ///
    /// # Errors
    /// Never, so far: whether somebody listens is seen by the first question.
    pub fn unix(socket: impl Into<PathBuf>) -> Result<Self> {
        Self::new(Address::Socket(socket.into()), None)
    }

    /// The server at `http://HOST:PORT` or `https://HOST:PORT`.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such URL, for certificates or a token that are none, and for a token that would
    /// leave this host without encryption.
    pub fn connect(url: &str, token: Option<SecretString>, options: &ConnectOptions) -> Result<Self> {
        let address = Address::parse(url, token.is_some(), options)?;
        Self::new(address, token)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the secret's life ends here")]
    fn new(address: Address, token: Option<SecretString>) -> Result<Self> {
        Ok(Self {
            transport: Arc::new(Transport::new(address, token.as_ref())?),
        })
    }

    /// Where the server is, as messages name it.
    pub fn address(&self) -> &str {
        self.transport.name()
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// As all that the connection may come to; see [`crate::is_not_reached`] for no server at all.
    pub async fn server(&self) -> Result<ServerInfo> {
        self.ask(Call::get("ask the server about itself", paths::SERVER))
            .await
    }

    /// Tells the server to stop, which it does once it has answered.
    ///
    /// # Errors
    /// When it may not be told so by this caller.
    pub async fn stop(&self) -> Result<()> {
        self.tell(Call::new("stop the server", Method::POST, paths::SERVER_STOP))
            .await
    }

    /// Tells the server to stop if nothing is under way there, which it decides itself.
    ///
    /// # Errors
    /// `Busy` when something is; when it may not be told so by this caller.
    pub async fn stop_if_idle(&self) -> Result<()> {
        let body = StopBody { if_idle: true };
        let call = Call::new("stop the server", Method::POST, paths::SERVER_STOP).json(&body)?;
        self.tell(call).await
    }

    /// The tokens that the server knows.
    ///
    /// # Errors
    /// When this caller may not see them.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>> {
        self.ask(Call::get("list the tokens", paths::TOKENS)).await
    }

    /// Makes a token. Its secret is told this once.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is none, `StateConflict` for one that exists.
    pub async fn create_token(&self, token: &TokenBody) -> Result<TokenCreated> {
        let call = Call::new("create a token", Method::POST, paths::TOKENS).json(token)?;
        self.ask(call).await
    }

    /// Revokes a token: from now on it opens nothing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_token(&self, name: &str) -> Result<()> {
        self.tell(Call::new("revoke the token", Method::DELETE, paths::token(name)))
            .await
    }

    /// Closes every connection of the pool. What is under way fails, and so does what is asked later. Commands, terminals
    /// and their like have connections of their own, which close with them.
    pub async fn close(&self) {
        self.transport.close().await;
    }

    /// An answer of JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        ask(&self.transport, call).await
    }

    /// An answer of JSON, or none where there is nothing to tell.
    pub(crate) async fn ask_maybe<T: DeserializeOwned>(&self, call: Call) -> Result<Option<T>> {
        let operation = call.operation;
        let response = self.transport.send(call).await?;
        let asked = self.transport.asked(operation);
        if response.status() == StatusCode::NO_CONTENT {
            answer::nothing(asked, response).await?;
            return Ok(None);
        }
        answer::json(asked, response).await.map(Some)
    }

    /// An answer without content.
    pub(crate) async fn tell(&self, call: Call) -> Result<()> {
        let operation = call.operation;
        let response = self.transport.send(call).await?;
        answer::nothing(self.transport.asked(operation), response).await
    }
}

impl fmt::Debug for HttpSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSessions")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

pub(crate) async fn ask<T: DeserializeOwned>(transport: &Transport, call: Call) -> Result<T> {
    let operation = call.operation;
    let response = transport.send(call).await?;
    answer::json(transport.asked(operation), response).await
}

/// A session as it is recorded.
pub(crate) async fn record(transport: &Transport, session: &SessionId) -> Result<SessionInfo> {
    ask(
        transport,
        Call::get("look at the session", paths::session(session)),
    )
    .await
}

/// That doing it twice is as doing it once.
pub(crate) fn harmless(operation: &'static str, method: Method, target: impl Into<String>) -> Call {
    Call::new(operation, method, target).repeat(Repeat::Harmless)
}
