//! How MCP clients are told about this server: the snippet for each, where it belongs, and how it is merged into what
//! is already there.
//!
//! Pure functions: reading, keeping a backup and writing are the program's. Files of clients are often edited by hand
//! and may hold comments; merging changes the one entry and leaves every other byte alone.

mod merge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use self::merge::merge;

/// The clients that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// Claude Desktop.
    ClaudeDesktop,
    /// Claude Code, for all projects of the user.
    ClaudeCode,
    /// Cursor.
    Cursor,
    /// Visual Studio Code.
    VsCode,
}

impl ClientKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ClaudeDesktop, Self::ClaudeCode, Self::Cursor, Self::VsCode];

    /// The name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::Cursor => "Cursor",
            Self::VsCode => "Visual Studio Code",
        }
    }

    /// The client of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The key under which the client's file lists its servers.
    fn key(self) -> &'static str {
        match self {
            Self::VsCode => "servers",
            _ => "mcpServers",
        }
    }

    /// The client's file, from the user's home directory.
    pub fn file(self, home: &Path) -> PathBuf {
        let application = if cfg!(target_os = "macos") {
            "Library/Application Support"
        } else {
            ".config"
        };
        match self {
            Self::ClaudeDesktop => home.join(application).join("Claude/claude_desktop_config.json"),
            Self::ClaudeCode => home.join(".claude.json"),
            Self::Cursor => home.join(".cursor/mcp.json"),
            Self::VsCode => home.join(application).join("Code/User/mcp.json"),
        }
    }
}

/// How a client starts the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEntry {
    /// The server's name among the client's servers; its tools are called `mcp__<name>__<tool>` in Claude Code.
    pub name: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment. What stands here can be read by whoever can read the client's file: no secrets.
    pub env: BTreeMap<String, String>,
}

impl ServerEntry {
    /// The server under its usual name, without arguments.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            name: "cofferdam".to_owned(),
            command: command.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    /// The entry's fields, in the order in which people write them.
    fn fields(&self, kind: ClientKind) -> Vec<(&'static str, Value)> {
        let mut fields = Vec::new();
        if matches!(kind, ClientKind::ClaudeCode | ClientKind::VsCode) {
            fields.push(("type", json!("stdio")));
        }
        fields.push(("command", json!(self.command)));
        fields.push(("args", json!(self.args)));
        if !self.env.is_empty() {
            fields.push(("env", json!(self.env)));
        }
        fields
    }
}

/// The snippet for a client: a whole file with nothing but this server.
pub fn client_config(kind: ClientKind, server: &ServerEntry) -> String {
    merge(kind, "{}\n", server).unwrap_or_else(|_| unreachable!("an empty object takes an entry"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_found_by_their_names() {
        for kind in ClientKind::ALL {
            assert_eq!(ClientKind::of_name(kind.name()), Some(kind));
        }
        assert_eq!(ClientKind::of_name("Claude-Code"), None);
    }

    #[test]
    fn each_client_gets_its_own_form() {
        let mut server = ServerEntry::new("/usr/local/bin/cofferdam-mcp");
        server
            .env
            .insert("DEFAULT_CLAUDE_IMAGE".into(), "debian:12".into());
        for kind in ClientKind::ALL {
            insta::assert_snapshot!(kind.name(), client_config(kind, &server));
        }
    }
}
