//! The configuration of MCP servers, as the tools about it need it from whoever links this crate.
//!
//! An MCP client is often an agent, and what it reads can be an attacker's words. So what can be done here is to choose
//! among servers that the operator declared: no tool takes a command, an address or a secret, none approves tools that
//! changed, and none names a file to write.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use mcp_catalog::{Catalog, Digest};
use session_core::error::Result;
use session_core::mcp::ServerName;

use crate::clients::ClientKind;

/// What is to be put into a client's own file.
#[derive(Debug, Clone, Copy)]
pub struct Deployment<'a> {
    /// The client.
    pub client: ClientKind,
    /// The profile that the client shall have.
    pub profile: &'a ServerName,
    /// The id of the published artifact, whose signature was found to hold.
    pub artifact: &'a str,
}

/// What became of a client's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The file, where it really is.
    pub path: PathBuf,
    /// The name of the entry among the client's servers.
    pub entry: String,
    /// Whether the file had to be changed.
    pub changed: bool,
    /// What the file was before, when there was one.
    pub backup: Option<PathBuf>,
}

/// Writes into the files of clients.
#[async_trait]
pub trait Deployer: Send + Sync + 'static {
    /// Puts an entry without any secret into the client's own file and leaves everything else in it alone. Doing the same
    /// again changes nothing. Called in a task that nobody drops.
    ///
    /// # Errors
    /// `InvalidArgument` for a file that is not understood, `Busy` when the client wrote it meanwhile, `HostIo`.
    async fn deploy(&self, deployment: Deployment<'_>) -> Result<Deployed>;

    /// The artifact that the client's own file serves now. `None` when there is no entry of ours, somebody made something
    /// else of it, or nobody looks.
    ///
    /// # Errors
    /// `HostIo`.
    async fn deployed(&self, _client: ClientKind, _profile: &ServerName) -> Result<Option<Digest>> {
        Ok(None)
    }
}

/// What the tools about configurations work on.
#[derive(Clone)]
pub(crate) struct Configuration {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) deployer: Option<Arc<dyn Deployer>>,
}
