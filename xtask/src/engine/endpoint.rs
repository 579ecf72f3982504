//! Where an engine listens, and whether it answers there.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xtask::error::Error;
use xtask::process::Tool;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// How long an engine may take to answer before it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Where to look for an engine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The default socket, because the user named nothing.
    Default,
    /// A Unix socket that the user named.
    Socket(PathBuf),
    /// Any other address that Docker's client understands (`tcp://`, `ssh://`).
    Remote(String),
}

/// Why no engine answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nobody listens there.
    Absent,
    /// We may not talk to whoever listens there.
    Denied,
    /// Somebody listens, and does not answer in time.
    Hangs,
    /// Somebody answered, and it is no engine; or the client failed, for the reason given.
    Strange(String),
}

impl Endpoint {
    /// The endpoint for a value of `DOCKER_HOST`.
    pub(crate) fn chosen(docker_host: Option<String>) -> Self {
        match docker_host {
            None => Self::Default,
            Some(host) => match host.strip_prefix("unix://") {
                Some(path) => Self::Socket(PathBuf::from(path)),
                None => Self::Remote(host),
            },
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        matches!(self, Self::Default)
    }

    /// The address in the form of `DOCKER_HOST`.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Default => format!("unix://{DEFAULT_SOCKET}"),
            Self::Socket(path) => format!("unix://{}", path.display()),
            Self::Remote(address) => address.clone(),
        }
    }

    /// Asks whoever listens there for a sign of life.
    pub(crate) fn ping(&self) -> Result<(), Silence> {
        match self {
            Self::Default => ping_socket(Path::new(DEFAULT_SOCKET)),
            Self::Socket(path) => ping_socket(path),
            Self::Remote(address) => ping_remote(address),
        }
    }

    /// The error for an engine that does not answer, with what its user can do.
    pub(crate) fn explain(&self, silence: &Silence) -> Error {
        let address = self.address();
        match silence {
            Silence::Absent => {
                Error::new(format!("no container engine listens at {address}")).hint(self.when_absent())
            }
            Silence::Denied => Error::new(format!("this user may not talk to the engine at {address}")).hint(
                "run as root, or join the socket's group (`usermod -aG docker USER`, then log in again)",
            ),
            Silence::Hangs => Error::new(format!("the engine at {address} does not answer")).hint(format!(
                "it accepts connections but was silent for {} s; look at its log, then restart it",
                PATIENCE.as_secs()
            )),
            Silence::Strange(answer) => Error::new(format!("no container engine answers at {address}"))
                .output(answer)
                .hint("check DOCKER_HOST, or unset it to use the default socket"),
        }
    }

    fn when_absent(&self) -> &'static str {
        match self {
            Self::Default => "start Docker, set DOCKER_HOST, or run `cargo xtask engine up`",
            Self::Socket(_) | Self::Remote(_) => {
                "start that engine, or unset DOCKER_HOST to use the default socket"
            }
        }
    }
}

fn ping_socket(socket: &Path) -> Result<(), Silence> {
    let answer = ask(socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Silence::Absent,
        // Without a word: whoever listened is just going away.
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Silence::Absent,
        ErrorKind::PermissionDenied => Silence::Denied,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Silence::Hangs,
        _ => Silence::Strange(error.to_string()),
    })?;
    judge(&answer)
}

/// HTTP/1.0 makes the engine close the connection after its answer, so that the end is the end.
fn ask(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")?;
    let mut answer = Vec::new();
    if let Err(error) = stream.take(4096).read_to_end(&mut answer)
        // Who did not read the question to its end resets the connection after his answer.
        && (error.kind() != ErrorKind::ConnectionReset || answer.is_empty())
    {
        return Err(error);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn judge(answer: &str) -> Result<(), Silence> {
    let first = answer.lines().next().unwrap_or_default();
    let mut words = first.split(' ');
    match (words.next(), words.next()) {
        (Some(protocol), Some("200")) if protocol.starts_with("HTTP/1.") => Ok(()),
        _ => Err(Silence::Strange(first.to_owned())),
    }
}

fn ping_remote(address: &str) -> Result<(), Silence> {
    let asked = Tool::new("docker")
        .env("DOCKER_HOST", address)
        .args(["version", "--format", "{{.Server.Version}}"])
        .limit(PATIENCE)
        .output();
    asked.map(drop).map_err(|error| Silence::Strange(error.report()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn chosen(host: &str) -> Endpoint {
        Endpoint::chosen(Some(host.to_owned()))
    }

    #[test]
    fn what_the_user_names_comes_before_the_default() {
        assert_eq!(Endpoint::chosen(None), Endpoint::Default);
        assert_eq!(
            chosen("unix:///run/podman.sock"),
            Endpoint::Socket("/run/podman.sock".into())
        );
        assert_eq!(
            chosen("ssh://me@far"),
            Endpoint::Remote("ssh://me@far".to_owned())
        );
        assert_eq!(
            chosen("unix:///run/podman.sock").address(),
            "unix:///run/podman.sock"
        );
    }

    #[test]
    fn only_an_engine_that_says_200_is_one() {
        assert_eq!(judge("HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\n\r\nOK"), Ok(()));
        for answer in [
            "",
            "SSH-2.0-OpenSSH_9.2",
            "HTTP/1.1 500 Internal Server Error\r\n",
        ] {
            assert!(matches!(judge(answer), Err(Silence::Strange(_))), "{answer}");
        }
    }

    #[test]
    fn an_absent_socket_is_told_apart_from_a_dead_one_and_a_stranger() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("s");
        assert_eq!(ping_socket(&socket), Err(Silence::Absent));

        let listener = UnixListener::bind(&socket).expect("a listener");
        let stranger = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            stream.write_all(b"220 mail ready\r\n").expect("an answer");
        });
        assert!(matches!(ping_socket(&socket), Err(Silence::Strange(_))));
        stranger.join().expect("the stranger ends");

        // Its listener is gone, its file is not.
        assert_eq!(ping_socket(&socket), Err(Silence::Absent));
    }

    #[test]
    fn one_that_goes_away_without_a_word_is_absent() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).expect("a listener");
        let asking = std::thread::spawn(move || ping_socket(&socket));
        // Somebody asks, and is not let in.
        std::thread::sleep(Duration::from_millis(100));
        drop(listener);
        assert_eq!(asking.join().expect("it ends"), Err(Silence::Absent));
    }

    #[test]
    fn every_silence_says_what_to_do() {
        let silences = [
            Silence::Absent,
            Silence::Denied,
            Silence::Hangs,
            Silence::Strange("x".to_owned()),
        ];
        for silence in &silences {
            for endpoint in [Endpoint::Default, chosen("tcp://far:1")] {
                assert!(
                    endpoint.explain(silence).report().contains("hint: "),
                    "{silence:?} {endpoint:?}"
                );
            }
        }
    }
}
