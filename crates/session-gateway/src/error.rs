//! The one error type of this crate: what an operator or the manager can act on.
//!
//! What the *agent* gets to read is another matter and is kept apart: see `model::refusal`.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GatewayErrorKind {
    /// The base URL is malformed, or would carry the key in clear over a network.
    InvalidBaseUrl,
    /// A credential cannot be sent in a header, or is too short to be looked for in answers.
    InvalidCredential,
    /// A provider lacks a region or a project, or has one that cannot be.
    InvalidProvider,
    /// A session token is too short to be a secret.
    InvalidToken,
    /// A model's price or its pattern would keep no account.
    InvalidPrices,
    /// No session of this id is registered.
    UnknownSession,
    /// The session holds as many connections as it may.
    TooManyConnections,
    /// The connection from inside the session broke, stalled or was not HTTP.
    ConnectionFailed,
    /// This machine has no usable TLS set-up, such as no root certificates.
    TlsUnavailable,
}

impl GatewayErrorKind {
    fn retryable(self) -> bool {
        matches!(self, Self::TooManyConnections | Self::ConnectionFailed)
    }
}

/// A failure of the gateway: kind, operation, message, context, hint, source. `Display` never prints the source.
pub struct GatewayError(Box<Inner>);

struct Inner {
    kind: GatewayErrorKind,
    operation: &'static str,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    hint: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl GatewayError {
    pub(crate) fn new(
        kind: GatewayErrorKind,
        operation: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            source: None,
        }))
    }

    pub(crate) fn with_context(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.0.hint = Some(hint);
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What a caller can act on.
    pub fn kind(&self) -> GatewayErrorKind {
        self.0.kind
    }

    /// The operation that failed, a verb phrase.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What happened, without operation, context or source.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Facts about the failure. Never a secret.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// What to do next, when something can be done.
    pub fn hint(&self) -> Option<&'static str> {
        self.0.hint
    }

    pub(crate) fn into_source(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.0.source
    }

    /// Whether the same request may succeed later unchanged.
    pub fn is_retryable(&self) -> bool {
        self.0.kind.retryable()
    }
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.0.operation, self.0.message)?;
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{key}: {value}", if index == 0 { " (" } else { ", " })?;
        }
        if self.0.context.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

impl fmt::Debug for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayError")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for GatewayError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// An error and its causes in one line, for a log: `Display` alone leaves the sources out.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_leaves_the_source_to_the_chain() {
        let error = GatewayError::new(
            GatewayErrorKind::ConnectionFailed,
            "serve a connection",
            "it broke",
        )
        .with_context("session", "s1")
        .with_source(std::io::Error::other("inner"));
        assert_eq!(
            error.to_string(),
            "could not serve a connection: it broke (session: s1)"
        );
        assert_eq!(
            Chain(&error).to_string(),
            "could not serve a connection: it broke (session: s1): inner"
        );
        assert!(error.is_retryable());
    }
}
