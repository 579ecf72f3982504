//! The engine's address, lazily connected, and the version of the API that both speak.
//!
//! Nothing is asked before the first call. Calls go out in a version that engines from 20.10 to 28 and Podman speak; an
//! engine that refuses it says so at once, having done nothing, and the call is made again in the version that was
//! then agreed on. So the usual engine costs no round trip, and one that is replaced while we run costs one.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use session_core::error::{Error, ErrorKind, Result};

use crate::error::{About, failed, is_version_refusal};

/// Where an engine is found when nothing else is said.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Spoken by every engine that we support, until one refuses it.
const FIRST_VERSION: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};

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

    fn open(&self, version: &ClientVersion) -> Result<Docker, bollard::errors::Error> {
        match self {
            Self::Unix(path) => Docker::connect_with_unix(path, SLOW.as_secs(), version),
            Self::Tcp(authority) => Docker::connect_with_http(authority, SLOW.as_secs(), version),
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

impl Handles {
    fn new(slow: Docker) -> Self {
        Self {
            quick: slow.clone().with_timeout(QUICK),
            slow,
        }
    }
}

/// One engine.
#[derive(Debug)]
pub(crate) struct Engine {
    host: Host,
    handles: RwLock<Option<Handles>>,
}

impl Engine {
    pub(crate) fn new(host: Host) -> Self {
        Self {
            host,
            handles: RwLock::new(None),
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Runs `work`, and once more when the engine refused the version of the API. It refuses the first call of `work`,
    /// before anything was done.
    pub(crate) async fn run<T, F, W>(&self, work: W) -> Result<T>
    where
        W: Fn(Handles) -> F,
        F: Future<Output = Result<T>>,
    {
        match Box::pin(work(self.handles()?)).await {
            Err(error) if is_version_refusal(&error) => Box::pin(work(self.negotiate().await?)).await,
            outcome => outcome,
        }
    }

    fn handles(&self) -> Result<Handles> {
        if let Some(handles) = self
            .handles
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            return Ok(handles.clone());
        }
        let docker = self.host.open(&FIRST_VERSION).map_err(cannot_connect)?;
        Ok(self.keep(Handles::new(docker)))
    }

    async fn negotiate(&self) -> Result<Handles> {
        let docker = self.host.open(API_DEFAULT_VERSION).map_err(cannot_connect)?;
        let docker = docker
            .with_timeout(QUICK)
            .negotiate_version()
            .await
            .map_err(|error| failed("agree on a version of the engine's API", About::Engine, error))?;
        Ok(self.keep(Handles::new(docker.with_timeout(SLOW))))
    }

    fn keep(&self, handles: Handles) -> Handles {
        *self.handles.write().unwrap_or_else(PoisonError::into_inner) = Some(handles.clone());
        handles
    }
}

fn cannot_connect(error: bollard::errors::Error) -> Error {
    failed("reach the engine", About::Engine, error)
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

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_unavailable_at_the_first_call() {
        let engine = Engine::new(Host::Unix("/nonexistent/engine.sock".to_owned()));
        let error = engine.run(|_| async { Ok(()) }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineUnavailable);
        assert!(error.hint().is_some());
    }

    proptest! {
        #[test]
        fn reading_an_address_never_panics(text in ".*") {
            let _ = Host::parse(&text);
        }
    }
}
