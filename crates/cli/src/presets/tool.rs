//! Asking the tools of this machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::settings::env::{self, EnvVar, Environment};

/// How long a tool may take. One of them may have to ask its index.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than any answer that is looked at.
const MAX_ANSWER: usize = 4 << 20;

/// The tools, and the variables that steer them.
pub(super) struct Tools {
    environment: BTreeMap<OsString, OsString>,
}

impl Tools {
    /// Tools find what they find in a shell of the user, and only that.
    pub(super) fn new(environment: &dyn Environment) -> Self {
        let variables = [
            env::HOME,
            env::PATH,
            env::XDG_CONFIG_HOME,
            env::NPM_CONFIG_REGISTRY,
            env::NPM_CONFIG_USERCONFIG,
            env::PIP_INDEX_URL,
            env::PIP_CONFIG_FILE,
            env::PIP_CERT,
            env::UV_DEFAULT_INDEX,
            env::CARGO_HOME,
            env::SSL_CERT_FILE,
            env::HTTP_PROXY,
            env::HTTPS_PROXY,
            env::NO_PROXY,
        ];
        let environment = variables
            .into_iter()
            .filter_map(|variable| Some((OsString::from(variable.name), environment.get(variable)?)))
            .collect();
        Self { environment }
    }

    /// A variable, as text.
    pub(super) fn variable(&self, variable: EnvVar) -> Option<String> {
        let value = self.environment.get(&OsString::from(variable.name))?;
        value.to_str().map(str::to_owned)
    }

    /// What a tool prints, when it is there and succeeds.
    pub(super) async fn ask(&self, argv: &[&str]) -> Option<String> {
        let (program, arguments) = argv.split_first()?;
        let running = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, running).await.ok()?.ok()?;
        let useful = output.status.success() && output.stdout.len() <= MAX_ANSWER;
        useful
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .filter(|answer| !answer.is_empty())
    }
}

/// Values of variables may hold passwords.
impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}
