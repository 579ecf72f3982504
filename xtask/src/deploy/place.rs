//! A directory like a checkout's, made by the commands in the head of the compose file, with the blanks of `.env.example`
//! filled in. It goes away with its owner.

use std::cell::OnceCell;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use xtask::error::{Context, Error, Result};
use xtask::process::Tool;
use xtask::workspace;

use crate::clients::token;
use crate::engine::Engine;

/// Who the server is in its container.
pub(super) const USER: u32 = 10_001;
/// The port of the scripted model on the loopback of the server's container.
pub(super) const MODEL_PORT: u16 = 8099;
/// The project in the projects' directory.
pub(super) const PROJECT: &str = "demo";

/// What starts the server, in the head of the compose file.
const STARTING: &str = "docker compose ";

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
        let copy = self.path().join("deploy");
        std::fs::create_dir(&copy).context(doing)?;
        for name in ["compose.yaml", ".env.example"] {
            std::fs::copy(source.join(name), copy.join(name)).context(doing)?;
        }
        for command in self.documented()? {
            self.run(&command)?;
        }
        let example = std::fs::read_to_string(copy.join(".env")).context(doing)?;
        self.write("deploy/.env", &filled(&example, &self.settings(engine)?)?)?;
        self.write("credentials", &format!("Authorization: Bearer {}\n", self.token))?;
        let project = copy.join("projects").join(PROJECT);
        std::fs::create_dir(&project).context(doing)?;
        std::fs::write(project.join("main.py"), "print('hello')\n").context(doing)
    }

    /// What the head of the compose file tells its users to do before they start the server. The images are there.
    fn documented(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(self.path().join("deploy/compose.yaml")).context(doing)?;
        let commands = commands(&text);
        match commands.split_last() {
            Some((last, before)) if last.starts_with(STARTING) => Ok(before.to_vec()),
            _ => Err(Error::new(
                "the head of deploy/compose.yaml does not end with how it is started",
            )),
        }
    }

    /// The arguments with which the head of the compose file starts the server, after `docker compose`.
    pub(super) fn starting(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(self.path().join("deploy/compose.yaml")).context(doing)?;
        let commands = commands(&text);
        let words = commands.last().and_then(|last| last.strip_prefix(STARTING));
        Ok(words
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect())
    }

    fn run(&self, command: &str) -> Result<()> {
        if command.starts_with("install ") && !rustix::process::geteuid().is_root() {
            // Only root gives a directory away. The one above keeps everybody else out of this one.
            let logs = self.path().join("deploy/logs");
            std::fs::create_dir(&logs).context(doing)?;
            let everybody = std::fs::Permissions::from_mode(0o777);
            return std::fs::set_permissions(&logs, everybody).context(doing);
        }
        let shell = Tool::new("sh").args(["-euc", command]);
        shell.dir(self.path()).output().map(drop)
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
            // A name, because a static program has to find out what it stands for by itself.
            ("ANTHROPIC_BASE_URL", format!("http://localhost:{MODEL_PORT}")),
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

/// The commands in the head of a compose file, but those that build images.
fn commands(text: &str) -> Vec<String> {
    let head = text.lines().take_while(|line| line.starts_with('#'));
    let indented = head.filter_map(|line| line.strip_prefix("#   "));
    let words = indented.map(|line| line.split("  #").next().unwrap_or_default().trim());
    words
        .filter(|command| !command.starts_with("cargo xtask image"))
        .map(str::to_owned)
        .collect()
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
    fn the_head_of_the_compose_file_is_read_as_commands() {
        let text = "# Words:\n#\n#   cargo xtask image --server\n#   cp a b        # and read it\n#   docker compose up\n#\n# More.\n\n#   later\n";
        assert_eq!(commands(text), ["cp a b", "docker compose up"]);
        let ours = include_str!("../../../deploy/compose.yaml");
        assert_eq!(commands(ours).len(), 4, "{:?}", commands(ours));
    }

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
