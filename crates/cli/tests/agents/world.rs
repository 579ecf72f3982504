//! What a test has: a state directory, the model that sessions talk to, a key that is nowhere else, and a directory in which
//! everything is kept that servers and clients said.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use testkit::canary::Canary;
use testkit::model::{ModelServer, Script};

use super::{Result, engine};

/// The program under test.
pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_cofferdam-mcp");

/// When a daemon leaves that a program under test started: soon, for nothing may be left of a test.
const IDLE_EXIT: &str = "1s";

/// How long what was told to end may take to do so.
const PATIENCE: Duration = Duration::from_secs(15);

/// See the module.
pub(crate) struct World {
    state: TempDir,
    records: TempDir,
    number: AtomicU32,
    /// What the agents in sessions talk to.
    pub(crate) model: ModelServer,
    /// The key for that model. The servers have it; nobody else may.
    pub(crate) key: Canary,
}

impl World {
    pub(crate) async fn open(script: Script) -> Result<Self> {
        Ok(Self {
            state: private_dir("cofferdam-state-")?,
            records: private_dir("cofferdam-records-")?,
            number: AtomicU32::new(0),
            model: ModelServer::start(script).await?,
            key: Canary::new(),
        })
    }

    /// Where sessions are recorded.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Where anything of this world is on this host.
    pub(crate) fn places(&self) -> [&Path; 2] {
        [self.state.path(), self.records.path()]
    }

    /// A fresh path for a record of this kind. Records are searched for the key at the end.
    pub(crate) fn record(&self, kind: &str) -> PathBuf {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.records.path().join(format!("{number:02}.{kind}"))
    }

    /// What a server needs to know.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("COFFERDAM_STATE_DIR", text(self.state.path())),
            ("HOME", text(self.records.path())),
            ("ANTHROPIC_BASE_URL", self.model.url()),
            ("ANTHROPIC_API_KEY", self.key.text().to_owned()),
            ("CLAUDE_CODE_LOG_LEVEL", "debug".to_owned()),
            ("COFFERDAM_IDLE_EXIT", IDLE_EXIT.to_owned()),
        ];
        environment.extend(inherited(&["PATH", "DOCKER_HOST"]));
        environment
    }

    /// What servers logged: the end of it.
    pub(crate) fn log(&self) -> String {
        let mut logs = self.records_of("log");
        logs.sort_unstable();
        logs.push(self.state.path().join("telemetry/serve.log"));
        let text: Vec<String> = logs
            .iter()
            .filter_map(|log| std::fs::read_to_string(log).ok())
            .collect();
        let text = text.join("\n");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// All records of a kind.
    pub(crate) fn records_of(&self, kind: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.records.path())
            .into_iter()
            .flatten()
            .flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == kind))
            .collect()
    }

    /// Waits until no process is there that was told of the state directory.
    pub(crate) async fn wait_for_quiet(&self) -> Result<()> {
        let waiting = async {
            while !engine::processes(self.state.path()).is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.map_err(|_| format!("still there: {:?}", engine::processes(self.state.path())).into())
    }

    /// The containers and volumes of this world.
    pub(crate) async fn belongings(&self) -> Result<Vec<String>> {
        engine::belongings(self.state.path()).await
    }

    /// Fails when anything is left, or the key is where it must not be.
    pub(crate) async fn finish(&self) -> Result<()> {
        let quiet = self.wait_for_quiet().await;
        let left = self.belongings().await?;
        engine::remove(&left).await;
        quiet?;
        if !left.is_empty() {
            return Err(format!("it left something on the engine: {left:?}").into());
        }
        let mut found = Vec::new();
        for place in self.places() {
            found.extend(self.key.files_in(place)?);
        }
        if !found.is_empty() {
            return Err(format!("the key is in {found:?}").into());
        }
        match self
            .model
            .requests()
            .iter()
            .find(|request| request.credential() != Some(self.key.text()))
        {
            Some(request) => Err(format!("{} came without the key", request.path).into()),
            None => Ok(()),
        }
    }
}

/// A directory that goes with the test and that nobody else can look into.
pub(crate) fn private_dir(prefix: &str) -> Result<TempDir> {
    let private = std::fs::Permissions::from_mode(0o700);
    Ok(tempfile::Builder::new()
        .prefix(prefix)
        .permissions(private)
        .tempdir()?)
}

/// Variables of this process that those it starts need, too.
#[expect(clippy::disallowed_methods, reason = "a test hands its own environment on")]
pub(crate) fn inherited(names: &[&'static str]) -> Vec<(&'static str, String)> {
    let values = names.iter().map(|name| Some((*name, std::env::var(name).ok()?)));
    values.flatten().collect()
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
