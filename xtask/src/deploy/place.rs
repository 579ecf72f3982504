//! A directory like `deploy/` with the blanks of `.env.example` filled in, which goes away with its owner.

use std::cell::OnceCell;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use xtask::error::{Context, Error, Result};
use xtask::workspace;

use crate::clients::token;
use crate::engine::Engine;

/// Who the server is in its container.
pub(super) const USER: u32 = 10_001;
/// The port of the scripted model on the loopback of the server's container.
pub(super) const MODEL_PORT: u16 = 8099;
/// The project in the projects' directory.
pub(super) const PROJECT: &str = "demo";

/// Where compose works.
#[derive(Debug)]
pub(super) struct Place {
    dir: TempDir,
    /// The name of everything that compose makes.
    pub(super) project: String,
    /// On this machine's loopback.
    pub(super) port: u16,
    /// The administrator's.
    pub(super) token: String,
    /// The provider's key, which the scripted model wants.
    pub(super) key: String,
    /// The session that was made, to be removed when the server does not do it.
    pub(super) session: OnceCell<String>,
}

impl Place {
    pub(super) fn make(engine: &Engine) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("cofferdam-deploy-").tempdir();
        let place = Self {
            dir: dir.context(doing)?,
            project: format!("cofferdam-test-{}", std::process::id()),
            port: free_port()?,
            token: token()?,
            key: format!("sk-ant-not-a-key-{}", token()?),
            session: OnceCell::new(),
        };
        place.fill(engine)?;
        Ok(place)
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file with the header that presents the token: no argument vector shows it.
    pub(super) fn credentials(&self) -> PathBuf {
        self.path().join("credentials")
    }

    fn fill(&self, engine: &Engine) -> Result<()> {
        let source = workspace::root().join("deploy");
        std::fs::copy(source.join("compose.yaml"), self.path().join("compose.yaml")).context(doing)?;
        let example = std::fs::read_to_string(source.join(".env.example")).context(doing)?;
        self.write(".env", &filled(&example, &self.settings(engine)?)?)?;
        self.write("credentials", &format!("Authorization: Bearer {}\n", self.token))?;
        let project = self.path().join("projects").join(PROJECT);
        std::fs::create_dir_all(&project).context(doing)?;
        std::fs::write(project.join("main.py"), "print('hello')\n").context(doing)?;
        let logs = self.path().join("logs");
        std::fs::create_dir(&logs).context(doing)?;
        // The directory above keeps everybody else out; a test may not be root and give it away.
        std::fs::set_permissions(&logs, std::fs::Permissions::from_mode(0o777)).context(doing)
    }

    fn settings(&self, engine: &Engine) -> Result<Vec<(&'static str, String)>> {
        let socket = engine
            .host()
            .strip_prefix("unix://")
            .ok_or_else(|| Error::new("the compose file is for an engine on this machine"))?;
        let group = std::fs::metadata(socket).context(doing)?.gid();
        Ok(vec![
            ("COMPOSE_PROJECT_NAME", self.project.clone()),
            ("MCP_API_KEY", self.token.clone()),
            ("ANTHROPIC_API_KEY", self.key.clone()),
            ("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{MODEL_PORT}")),
            ("ENGINE_SOCKET", socket.to_owned()),
            ("ENGINE_GID", group.to_string()),
            ("MCP_PORT", self.port.to_string()),
            // Half a minute is nothing to wait for in a test.
            ("HEALTH_CHECK_INTERVAL", "2".to_owned()),
        ])
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path().join(name);
        std::fs::write(&path, text).context(doing)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).context(doing)
    }
}

fn doing() -> String {
    "cannot prepare a directory for compose".to_owned()
}

/// Nobody else is likely to take it within the second until compose does.
fn free_port() -> Result<u16> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(bound.context(|| "cannot find a free port".to_owned())?.port())
}

/// The example with these values; each has to have a line there, as an example or behind a `#`.
fn filled(example: &str, settings: &[(&str, String)]) -> Result<String> {
    let mut missing: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    let mut text = String::new();
    for line in example.lines() {
        let name = line
            .trim_start_matches("# ")
            .split_once('=')
            .map(|(name, _)| name);
        match settings.iter().find(|(wanted, _)| name == Some(*wanted)) {
            Some((name, value)) => {
                missing.retain(|missing| missing != name);
                text.push_str(&format!("{name}={value}\n"));
            }
            None => text.push_str(&format!("{line}\n")),
        }
    }
    match missing.first() {
        None => Ok(text),
        Some(name) => Err(Error::new(format!("deploy/.env.example does not know {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_filled_in_and_nothing_else_is_touched() {
        let example = "# Words.\nA=1\n# B=2\nC=3\n";
        let set = [("A", "x".to_owned()), ("B", "y".to_owned())];
        assert_eq!(
            filled(example, &set).expect("filled"),
            "# Words.\nA=x\nB=y\nC=3\n"
        );
        let unknown = filled(example, &[("D", String::new())]).expect_err("it has no line");
        assert!(unknown.to_string().contains("D"), "{unknown}");
    }
}
