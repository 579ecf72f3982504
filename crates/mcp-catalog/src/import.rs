//! Servers of other clients: the JSON of Claude Desktop, Claude Code, Cursor and VS Code becomes declarations.
//!
//! Such files hold secrets in plain text. None is written down: each becomes a reference to a variable, and a person is
//! told which one to set. What cannot be declared is left out with a reason; the rest is declared at once.

mod convert;
mod names;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use self::convert::Converted;
use crate::catalog::Catalog;
use crate::edit::tables;

const OPERATION: &str = "import MCP servers";

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Whether servers of the same name are replaced; they are left alone otherwise.
    pub replace: bool,
    /// Only these, as they are called in the file; all when empty.
    pub only: Vec<String>,
}

/// What came of it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Imported {
    /// What was declared, under its name here.
    pub added: Vec<ServerName>,
    /// Those of them whose name had to be changed: from, to.
    pub renamed: Vec<(String, ServerName)>,
    /// What was left out, and why.
    pub skipped: Vec<(String, String)>,
    /// Variables that have to be set for the servers to work.
    pub secrets: Vec<SecretToMove>,
}

/// A secret that stood in the file, or that the file took from a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretToMove {
    /// The server that needs it.
    pub server: ServerName,
    /// Where it stood: `env.API_KEY`, `headers.Authorization`.
    pub field: String,
    /// The variable to which the declaration refers.
    pub suggested: String,
}

impl Catalog {
    /// Declares the servers of another client's file.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such file, and as [`Catalog::add_server`]; `NotFound` for a name in `only` that is
    /// not in the file.
    pub fn import(&self, json: &str, import: &Import) -> Result<Imported> {
        let servers = source::servers(json)?;
        if let Some(missing) = import
            .only
            .iter()
            .find(|name| !servers.iter().any(|(known, _)| known == *name))
        {
            return Err(
                Error::new(ErrorKind::NotFound, OPERATION, "the file has no such server")
                    .with_context("server", names::one_line(missing))
                    .with_hint("write the name as it stands in the file"),
            );
        }
        let chosen = |name: &String| import.only.is_empty() || import.only.contains(name);
        self.edit(|document, declared| {
            let mut imported = Imported::default();
            let mut taken = BTreeSet::new();
            for (original, written) in servers.iter().filter(|(name, _)| chosen(name)) {
                let name = names::legal(original, &taken);
                if declared.servers.contains_key(&name) && !import.replace {
                    let reason = format!("a server {name} is declared already");
                    imported.skipped.push((names::one_line(original), reason));
                    continue;
                }
                match convert::convert(&name, written) {
                    Err(reason) => imported.skipped.push((names::one_line(original), reason)),
                    Ok(Converted { definition, secrets }) => {
                        tables::put(document, "servers", &name, &definition)?;
                        imported.secrets.extend(secrets);
                        if name.as_str() != original {
                            imported.renamed.push((names::one_line(original), name.clone()));
                        }
                        taken.insert(name.clone());
                        imported.added.push(name);
                    }
                }
            }
            let changed = !imported.added.is_empty();
            Ok((imported, changed))
        })
    }
}
