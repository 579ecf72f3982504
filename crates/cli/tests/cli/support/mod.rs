//! Drives the whole command line in this process: arguments, environment and streams in, exit code and both streams out.

pub(crate) mod fake;
pub(crate) mod fixtures;
pub(crate) mod home;
mod streams;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cli::app::Invocation;
use cli::compose::{Backend, Opened};
use cli::console::Streams;
use cli::daemon::connect::Wish;
use cli::settings::{Settings, Terminals};
use futures::StreamExt;
use http_api::ServerInfo;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ImageRef;
use session_core::runtime::{Progress, RuntimeHealth};
use session_core::store::Quarantined;

use self::fake::Fake;
use self::streams::Capture;

/// A user at a command line.
pub(crate) struct User {
    pub(crate) fake: Arc<Fake>,
    pub(crate) terminals: Terminals,
    pub(crate) stdin: Vec<u8>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) current_dir: PathBuf,
    /// The program that runs; others are beside it.
    pub(crate) program: PathBuf,
    /// After how many bytes the reader of standard output goes away.
    pub(crate) stdout_limit: Option<usize>,
    pub(crate) health: Result<RuntimeHealth, ErrorKind>,
    /// What the daemon says, when one runs.
    pub(crate) daemon: Option<ServerInfo>,
    /// How the lifecycle API was opened.
    pub(crate) opened: Mutex<Vec<&'static str>>,
    state: tempfile::TempDir,
}

/// What came of a command.
pub(crate) struct Outcome {
    pub(crate) code: u8,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl User {
    pub(crate) fn new(fake: Fake) -> Self {
        let private = std::fs::Permissions::from_mode(0o700);
        let state = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let environment = [
            ("HOME", "/home/user"),
            ("COFFERDAM_STATE_DIR", state.path().to_str().unwrap()),
            ("ANTHROPIC_API_KEY", fixtures::CANARY_KEY),
            ("TZ", "UTC"),
        ];
        Self {
            fake: Arc::new(fake),
            terminals: Terminals::default(),
            stdin: Vec::new(),
            environment: environment
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            current_dir: PathBuf::from("/work/project"),
            program: PathBuf::from(env!("CARGO_BIN_EXE_cofferdam")),
            stdout_limit: None,
            health: Ok(RuntimeHealth {
                version: "Docker 29.3.1".to_owned(),
                findings: Vec::new(),
            }),
            daemon: None,
            opened: Mutex::default(),
            state,
        }
    }

    pub(crate) fn on_a_terminal(mut self) -> Self {
        self.terminals = Terminals {
            stdin: true,
            stdout: true,
            stderr: true,
        };
        // No colour and no changing line, so that snapshots can be read.
        self.environment.insert("TERM".to_owned(), "dumb".to_owned());
        self
    }

    pub(crate) fn state_dir(&self) -> &std::path::Path {
        self.state.path()
    }

    pub(crate) async fn runs(&self, line: &str) -> Outcome {
        self.runs_args(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
            .await
    }

    pub(crate) async fn runs_args<A: Into<OsString> + Clone>(&self, args: &[A]) -> Outcome {
        let out = Capture::new(self.stdout_limit);
        let err = Capture::new(None);
        let signals = self.fake.signals();
        let streams = Streams {
            stdin: Box::new(std::io::Cursor::new(self.stdin.clone())),
            stdout: Box::new(out.clone()),
            stderr: Box::new(err.clone()),
            raw_stdout: Box::new(out.clone()),
            raw_stderr: Box::new(err.clone()),
            terminals: self.terminals,
            catch_signals: Box::new(move || {
                let receiver = signals.subscribe();
                Ok(futures::stream::unfold(receiver, |mut receiver| async move {
                    let signal = receiver.recv().await.ok()?;
                    Some((signal, receiver))
                })
                .boxed())
            }),
            current_dir: self.current_dir.clone(),
            program: self.program.clone(),
        };
        let args = std::iter::once(OsString::from("cofferdam")).chain(args.iter().cloned().map(Into::into));
        let code = match Invocation::parse(args, &self.environment, streams) {
            Ok(invocation) => invocation.run(&self.environment, self).await.code(),
            Err(status) => status.code(),
        };
        Outcome {
            code,
            stdout: out.bytes(),
            stderr: err.bytes(),
        }
    }
}

#[async_trait]
impl Backend for User {
    async fn connect(&self, wish: Wish<'_>) -> Result<Opened> {
        self.fake.fail("open")?;
        // As where no daemon runs yet.
        if let Some(told) = wish.told.filter(|told| told.needs_model) {
            told.settings.require_model()?;
        }
        self.opened.lock().unwrap().push("daemon");
        Ok(Opened {
            api: self.fake.clone(),
            servers: None,
            lasting: true,
            close: Box::pin(async {}),
        })
    }

    async fn daemon(&self, _state_dir: &Path) -> Result<Option<ServerInfo>> {
        self.fake.fail("daemon")?;
        Ok(self.daemon.clone())
    }

    async fn open(&self, _settings: &Settings) -> Result<Opened> {
        self.fake.fail("open")?;
        self.opened.lock().unwrap().push("embedded");
        Ok(Opened {
            api: self.fake.clone(),
            servers: None,
            lasting: false,
            close: Box::pin(async {}),
        })
    }

    fn state_dir(&self, _settings: &Settings) -> Result<()> {
        Ok(())
    }

    async fn quarantined(&self, _settings: &Settings) -> Result<Vec<Quarantined>> {
        Ok(self.fake.kept.quarantined.clone())
    }

    async fn engine(&self, _settings: &Settings) -> Result<RuntimeHealth> {
        self.health.clone().map_err(|kind| {
            Error::new(kind, "ask the engine", "nobody answers").with_hint("start the engine")
        })
    }

    async fn image(&self, _settings: &Settings, _image: &ImageRef, _progress: &dyn Progress) -> Result<()> {
        self.fake.fail("image")
    }

    fn provider(&self, _settings: &Settings) -> Result<String> {
        Ok("https://api.anthropic.com".to_owned())
    }

    fn default_image(&self, _settings: &Settings) -> Result<ImageRef> {
        "cofferdam-session:latest".parse()
    }
}

impl Outcome {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.stderr.clone()).unwrap()
    }

    /// Exit code and both streams, as a snapshot shows them.
    pub(crate) fn shown(&self) -> String {
        format!(
            "exit code: {}\n----- stdout -----\n{}\n----- stderr -----\n{}",
            self.code,
            self.stdout(),
            self.stderr()
        )
    }

    /// Standard output as JSON lines.
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        self.stdout()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

/// Snapshots an outcome; what differs from run to run is masked.
macro_rules! snapshot {
    ($name:literal, $user:expr, $outcome:expr) => {{
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(&crate::support::regex_of($user.state_dir()), "[STATE]");
        settings.set_snapshot_path("snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!($name, $outcome.shown()));
    }};
}
pub(crate) use snapshot;

/// A path as a regular expression that matches it alone.
pub(crate) fn regex_of(path: &std::path::Path) -> String {
    path.to_str().unwrap().replace('.', "\\.")
}
