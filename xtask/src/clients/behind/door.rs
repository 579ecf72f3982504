//! The gateway's MCP door at a port of loopback, with one server behind it: `examples/mcp_door.rs` of `session-gateway`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use xtask::error::{Context, Result};
use xtask::process::Tool;
use xtask::workspace;

use super::super::running::{Running, token};

/// What it says once it listens, before the address.
const LISTENS: &str = "MCP door at ";

/// The program, as a debug build makes it.
pub(super) fn program() -> PathBuf {
    workspace::target().join("debug/examples/mcp_door")
}

/// A door that is served.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) token: String,
    running: Running,
    place: TempDir,
}

impl Door {
    /// Serves one with a server of this definition, whose tools keep their names.
    pub(super) fn open(definition: &str) -> Result<Self> {
        let place = TempDir::with_prefix("cofferdam-door-");
        let place = place.context(|| "cannot make a temporary directory".to_owned())?;
        let servers = place.path().join("servers.toml");
        let text = format!(
            "[servers.fixture]\n{definition}names = \"bare\"\n\n[profiles.default]\nservers = [\"fixture\"]\n"
        );
        std::fs::write(&servers, text).context(|| format!("cannot write {}", servers.display()))?;
        let token = token()?;
        let state = place.path().join("state");
        let prepare = |tool: Tool| tool.arg(&servers).arg(&state).arg(&token);
        let mut running = Running::start(&program(), prepare, &place.path().join("log"))?;
        Ok(Self {
            address: running.address(LISTENS)?,
            token,
            running,
            place,
        })
    }

    /// Where results may be put; gone with the door.
    pub(super) fn place(&self) -> &Path {
        self.place.path()
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        self.running.last_words()
    }

    /// Ends it, and its server with it.
    pub(super) fn stop(self) -> Result<()> {
        self.running.stop()
    }
}
