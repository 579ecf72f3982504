//! The engine's address, and handles on it that are made at the first call.
//!
//! Nothing is asked about versions: the library names none in its requests, so each engine answers in its own. A test
//! here notices when that changes.

use std::sync::OnceLock;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use session_core::error::{Error, ErrorKind, Result};

use crate::error::{About, failed};

/// Where an engine is found when nothing else is said.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// For looks at the engine. The core bounds each call more closely; these bounds are the last resort.
const QUICK: Duration = Duration::from_secs(30);
/// For calls that work: creating, removing, committing, fetching.
const SLOW: Duration = Duration::from_secs(30 * 60);

/// Where the engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A Unix socket on this machine.
    Unix(String),
    /// `host:port`, without encryption.
    Tcp(String),
}

impl Host {
    /// Reads `unix://PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |kind, message: &'static str, hint: &'static str| {
            Err(Error::new(kind, "read the engine's address", message)
                .with_context("host", text.chars().take(200).collect::<String>().escape_debug())
                .with_hint(hint))
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse(
                ErrorKind::InvalidArgument,
                "the address has no scheme",
                "write it as unix:///var/run/docker.sock or tcp://HOST:PORT",
            );
        };
        match scheme {
            "unix" if rest.starts_with('/') && !rest.contains('\0') => Ok(Self::Unix(rest.to_owned())),
            "tcp" | "http" => match authority(rest) {
                Some(authority) => Ok(Self::Tcp(authority)),
                None => refuse(
                    ErrorKind::InvalidArgument,
                    "this is not a host and a port",
                    "write it as tcp://HOST:PORT",
                ),
            },
            "unix" => refuse(
                ErrorKind::InvalidArgument,
                "a socket's path is absolute",
                "write it as unix:///var/run/docker.sock",
            ),
            "ssh" => refuse(
                ErrorKind::Unsupported,
                "engines are not reached over SSH",
                "forward the socket (ssh -L /tmp/engine.sock:/var/run/docker.sock HOST) and use unix:///tmp/engine.sock",
            ),
            "https" => refuse(
                ErrorKind::Unsupported,
                "engines are not reached over TLS",
                "forward the engine's socket over SSH and use unix://PATH",
            ),
            _ => refuse(
                ErrorKind::InvalidArgument,
                "the scheme is unknown",
                "use unix://PATH or tcp://HOST:PORT",
            ),
        }
    }

    /// Whether the engine sees the directories of this machine.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    fn open(&self) -> Result<Docker, bollard::errors::Error> {
        match self {
            Self::Unix(path) => Docker::connect_with_unix(path, SLOW.as_secs(), API_DEFAULT_VERSION),
            Self::Tcp(authority) => Docker::connect_with_http(authority, SLOW.as_secs(), API_DEFAULT_VERSION),
        }
    }
}

/// `HOST:PORT` of what follows a scheme; one closing slash is forgiven, users and paths are not.
fn authority(rest: &str) -> Option<String> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || (bare != host && c == ':');
    (!bare.is_empty() && bare.chars().all(allowed)).then(|| rest.to_owned())
}

/// Two handles on one engine: a time limit of the library covers a whole call, and some calls work for long.
#[derive(Debug, Clone)]
pub(crate) struct Handles {
    /// For looks.
    pub(crate) quick: Docker,
    /// For work.
    pub(crate) slow: Docker,
}

/// One engine.
#[derive(Debug)]
pub(crate) struct Engine {
    host: Host,
    handles: OnceLock<Handles>,
}

impl Engine {
    pub(crate) fn new(host: Host) -> Self {
        Self {
            host,
            handles: OnceLock::new(),
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// The handles, made when there is a socket to make them on.
    ///
    /// # Errors
    /// `EngineUnavailable` when there is none; the next call looks again.
    pub(crate) fn handles(&self) -> Result<&Handles> {
        if let Some(handles) = self.handles.get() {
            return Ok(handles);
        }
        let slow = self
            .host
            .open()
            .map_err(|error| failed("reach the engine", About::Engine, error))?;
        let quick = slow.clone().with_timeout(QUICK);
        Ok(self.handles.get_or_init(|| Handles { quick, slow }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_or_refused() {
        for (text, host) in [
            (
                "unix:///var/run/docker.sock",
                Host::Unix("/var/run/docker.sock".to_owned()),
            ),
            ("tcp://127.0.0.1:2375", Host::Tcp("127.0.0.1:2375".to_owned())),
            (
                "http://engine.example:80/",
                Host::Tcp("engine.example:80".to_owned()),
            ),
            ("tcp://[::1]:2375", Host::Tcp("[::1]:2375".to_owned())),
        ] {
            assert_eq!(Host::parse(text).unwrap(), host);
        }
        for (text, kind) in [
            ("ssh://me@host", ErrorKind::Unsupported),
            ("https://host:2376", ErrorKind::Unsupported),
            ("/var/run/docker.sock", ErrorKind::InvalidArgument),
            ("unix://docker.sock", ErrorKind::InvalidArgument),
            ("tcp://host", ErrorKind::InvalidArgument),
            ("tcp://user@host:1", ErrorKind::InvalidArgument),
            ("tcp://host:1/path", ErrorKind::InvalidArgument),
            ("tcp://::1:2375", ErrorKind::InvalidArgument),
            ("tcp://host:0", ErrorKind::InvalidArgument),
            ("npipe:////./pipe/x", ErrorKind::InvalidArgument),
        ] {
            let error = Host::parse(text).unwrap_err();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.hint().is_some(), "{text}");
        }
    }

    #[test]
    fn an_engine_that_is_not_there_is_unavailable_at_the_first_call() {
        let engine = Engine::new(Host::Unix("/nonexistent/engine.sock".to_owned()));
        let error = engine.handles().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineUnavailable);
        assert!(error.hint().is_some());
    }

    #[tokio::test]
    async fn requests_name_no_version() {
        use tokio::io::AsyncReadExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine = Engine::new(Host::Tcp(listener.local_addr().unwrap().to_string()));
        let asking = async { engine.handles().unwrap().quick.inspect_image("debian:12").await };
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        let (asked, request) = tokio::join!(asking, answering);
        assert!(asked.is_err(), "nothing was answered");
        assert!(
            request.starts_with("GET /images/debian:12/json HTTP/1.1\r\n"),
            "{request}"
        );
    }

    proptest! {
        #[test]
        fn reading_an_address_never_panics(text in ".*") {
            let _ = Host::parse(&text);
        }
    }
}
