//! Settings of the surface, resolved. Nothing here reads the environment.

use std::time::Duration;

use secrecy::SecretString;
use session_core::audit::AuditLog;

use crate::compat::CompatOptions;
use crate::tokens::TokenFile;

/// How the API is served.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The tokens that callers over TCP may have; none from a file when `None`.
    pub tokens: Option<TokenFile>,
    /// A token with the scope `admin` that the operator chose: its name and the secret, at least 32 characters.
    pub operator_key: Option<(String, SecretString)>,
    /// Names under which clients may address the server over TCP, with or without a port.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may talk to it, for example `https://app.example.com`; none by default.
    pub allowed_origins: Vec<String>,
    /// Listen beyond loopback although the connection is not encrypted. Only behind a proxy that encrypts.
    pub allow_remote: bool,
    /// Connections at once over TCP, and as many over the socket; fewer where file descriptors are scarce. More are refused.
    pub max_connections: usize,
    /// Bytes of a JSON body.
    pub max_body: usize,
    /// Bytes of bodies that are read whole, and of first messages of WebSockets, at once: all callers together.
    pub max_unread: usize,
    /// The share of one token in them.
    pub max_unread_of_one: usize,
    /// How long the header of a request may take to arrive, and a connection may say nothing.
    pub header_timeout: Duration,
    /// How long a JSON body or the first message of a WebSocket may take to arrive, and how long any other may stall.
    pub body_timeout: Duration,
    /// How long a client over TCP may take nothing of its answer.
    pub write_timeout: Duration,
    /// How long connections may take to come to their end.
    pub drain: Duration,
    /// Requests of one token.
    pub rate: Rate,
    /// Where it is written what callers change and what they are refused; nowhere when `None`.
    pub audit: Option<AuditLog>,
    /// The older interface, when it is served, too.
    pub compat: Option<CompatOptions>,
    /// Requests of one token to the routes of the older interface.
    pub compat_rate: Rate,
    /// Wrong tokens from one address.
    pub failure_rate: Rate,
}

/// So many requests in a window; all of them at once if need be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: u32,
    /// In which time they come back.
    pub window: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            tokens: None,
            operator_key: None,
            allowed_hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
            allowed_origins: Vec::new(),
            allow_remote: false,
            max_connections: 1024,
            max_body: 10 << 20,
            max_unread: 256 << 20,
            max_unread_of_one: 64 << 20,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            // 500 a second.
            rate: Rate {
                requests: 1000,
                window: Duration::from_secs(2),
            },
            audit: None,
            compat: None,
            compat_rate: Rate {
                requests: 100,
                window: Duration::from_mins(15),
            },
            failure_rate: Rate {
                requests: 30,
                window: Duration::from_secs(30),
            },
        }
    }
}
