//! The operator's declarations and what is kept about them, as the gateway and the front ends see them.

use std::path::PathBuf;

use session_core::error::Result;

/// Where the files are.
#[derive(Debug, Clone)]
pub struct CatalogPaths {
    /// `servers.toml`; it need not exist.
    pub servers: PathBuf,
    /// What must not be lost: manifests, approvals, drafts, artifacts, logins.
    pub storage: PathBuf,
    /// The keys that sign: 0700, each file 0600.
    pub keys: PathBuf,
}

/// See the module. Cheap to ask: files are read again only when they changed.
#[derive(Debug)]
pub struct Catalog {
    paths: CatalogPaths,
}

impl Catalog {
    /// A catalog at these paths; reads and makes nothing yet.
    pub fn new(paths: CatalogPaths) -> Self {
        Self { paths }
    }

    /// Where the files are.
    pub fn paths(&self) -> &CatalogPaths {
        &self.paths
    }

    /// Whether anything was declared at all.
    ///
    /// # Errors
    /// `HostIo`.
    pub fn is_declared(&self) -> Result<bool> {
        Ok(self.paths.servers.exists())
    }
}
