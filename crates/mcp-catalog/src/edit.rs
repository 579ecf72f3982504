//! Changes to `servers.toml` that leave alone what they do not change: comments, order, blanks.
//!
//! The file is a person's. One change at a time reads it, judges the result as a whole and puts it in place at once; when
//! an editor wrote meanwhile, the change is made again on what it wrote.

mod list;
mod place;
pub(crate) mod tables;
#[cfg(test)]
mod tests;

use rustix::fs::Mode;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;
use toml_edit::DocumentMut;

use crate::catalog::{Catalog, MAX_SERVERS_FILE, parse};
use crate::declared::{Declared, Profile};
use crate::definition::ServerDefinition;
use crate::files::{Dir, PRIVATE_FILE, Stamp, Trust};

const OPERATION: &str = "change the declared MCP servers";
const ATTEMPTS: usize = 8;

impl Catalog {
    /// Declares a server. With `replace`, in place of one that has the name; what it says the same way stays as it is.
    ///
    /// # Errors
    /// `InvalidArgument` for a definition that cannot be, a name that is taken, and a file that cannot be understood;
    /// `StateDirRefused`, `HostIo`, `Busy`.
    pub fn add_server(&self, name: &ServerName, definition: &ServerDefinition, replace: bool) -> Result<()> {
        definition.check()?;
        self.edit(|document, declared| {
            if declared.servers.contains_key(name) && !replace {
                return Err(taken(name));
            }
            tables::put(document, "servers", name, definition)?;
            Ok(((), true))
        })
    }

    /// Takes a server away, also out of the profiles; says whether it was declared. What was approved and published of it
    /// stays.
    ///
    /// # Errors
    /// `InvalidArgument` for a file that cannot be understood; `StateDirRefused`, `HostIo`, `Busy`.
    pub fn remove_server(&self, name: &ServerName) -> Result<bool> {
        self.edit(|document, declared| {
            if !declared.servers.contains_key(name) {
                return Ok((false, false));
            }
            for (profile, of_profile) in &declared.profiles {
                if of_profile.servers.contains(name) {
                    tables::take_from_list(document, profile, name);
                }
            }
            tables::remove(document, "servers", name);
            Ok((true, true))
        })
    }

    /// Declares a profile, or changes the one that has the name.
    ///
    /// # Errors
    /// `InvalidArgument` for a server that is not declared, for patterns that are none, and for a file that cannot be
    /// understood; `StateDirRefused`, `HostIo`, `Busy`.
    pub fn set_profile(&self, name: &ServerName, profile: &Profile) -> Result<()> {
        profile.flaw().map_err(|flaw| flaw.into_error(OPERATION))?;
        self.edit(|document, declared| {
            if let Some(unknown) = profile
                .servers
                .iter()
                .find(|server| !declared.servers.contains_key(*server))
            {
                return Err(
                    Error::new(ErrorKind::InvalidArgument, OPERATION, "there is no such server")
                        .with_context("server", unknown)
                        .with_hint("`cofferdam mcp list` shows the servers"),
                );
            }
            tables::put(document, "profiles", name, profile)?;
            Ok(((), true))
        })
    }

    /// Takes a profile away; says whether it was declared.
    ///
    /// # Errors
    /// `InvalidArgument` for a file that cannot be understood; `StateDirRefused`, `HostIo`, `Busy`.
    pub fn remove_profile(&self, name: &ServerName) -> Result<bool> {
        self.edit(|document, declared| {
            let there = declared.profiles.contains_key(name);
            if there {
                tables::remove(document, "profiles", name);
            }
            Ok((there, there))
        })
    }

    /// Changes the file while nobody else of ours does. `change` says whether it changed anything.
    pub(crate) fn edit<T>(
        &self,
        change: impl Fn(&mut DocumentMut, &Declared) -> Result<(T, bool)>,
    ) -> Result<T> {
        let path = place::real_path(&self.paths().servers)
            .map_err(|source| crate::files::io_error(OPERATION, &self.paths().servers, source))?;
        let (dir, name) = place::split(&path)?;
        let dir = Dir::make(OPERATION, &dir, Trust::Operator)?;
        let _guard = dir.lock(&format!(".{name}.lock"))?;
        for _ in 0..ATTEMPTS {
            let (bytes, stamp) = match dir.read(name, MAX_SERVERS_FILE)? {
                Some((bytes, stamp)) => (bytes, Some(stamp)),
                None => (Vec::new(), None),
            };
            let declared = parse(&bytes, &path)?;
            let mut document = document_of(&bytes)?;
            let (outcome, changed) = change(&mut document, &declared)?;
            if !changed {
                return Ok(outcome);
            }
            let text = document.to_string();
            // What could not be read again is never written.
            parse(text.as_bytes(), &path)?;
            if dir.stamp(name)? != stamp {
                continue;
            }
            let mode = stamp.map_or(PRIVATE_FILE, |stamp: Stamp| {
                Mode::from_raw_mode(stamp.permissions())
            });
            dir.replace(name, text.as_bytes(), mode)?;
            return Ok(outcome);
        }
        Err(Error::new(
            ErrorKind::Busy,
            OPERATION,
            "somebody else keeps changing the file",
        )
        .with_context("file", path.display())
        .with_hint("try again once it rests"))
    }
}

fn document_of(bytes: &[u8]) -> Result<DocumentMut> {
    // It was understood as a whole right before.
    String::from_utf8_lossy(bytes)
        .parse()
        .map_err(|_| Error::new(ErrorKind::Internal, OPERATION, "the file is TOML and is not"))
}

fn taken(name: &ServerName) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "a server of this name is declared already",
    )
    .with_context("server", name)
    .with_hint("choose another name, or replace it with --replace")
}
