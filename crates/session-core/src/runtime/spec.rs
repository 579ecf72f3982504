//! What a runtime is told about a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::{ContainerName, SessionId};

/// Everything that decides how a session's container is launched. Built by the manager from the caller's request
/// alone; nothing in it comes from an image, a project's files or an agent (I5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The container's name.
    pub name: ContainerName,
    /// The session that it serves.
    pub session: SessionId,
    /// Labels, the signed ones of [`crate::label`] among them. No secrets: anybody on the engine can read them.
    pub labels: BTreeMap<String, String>,
    /// Who runs inside.
    pub user: UserIds,
    /// The network.
    pub network: NetworkMode,
    /// Limits in force from the first instruction.
    pub limits: ResourceLimits,
    /// What is at `/workspace`.
    pub workspace: WorkspaceVolume,
    /// Whether there may be storage already.
    pub storage: Storage,
    /// Further directories of the host.
    pub mounts: Vec<HostMount>,
    /// The host's directory with the link's socket, to be shown read-only at [`ContainerSpec::LINK_DIR`]; `None` when
    /// the runtime cannot mount it.
    pub link_dir: Option<PathBuf>,
}

impl ContainerSpec {
    /// Where the link's directory is seen inside.
    pub const LINK_DIR: &'static str = "/run/cofferdam/link";
    /// Where `session-init` and the agent are seen inside, read-only.
    pub const TOOLBOX_DIR: &'static str = "/opt/cofferdam";
    /// The workspace.
    pub const WORKSPACE_DIR: &'static str = "/workspace";
    /// The user's home directory.
    pub const HOME_DIR: &'static str = "/home/agent";
}

/// The numeric user and group inside a container. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserIds {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl UserIds {
    /// Used when the project's owner is root or unknown.
    pub const DEFAULT: Self = Self { uid: 1000, gid: 1000 };
}

/// What a container can reach by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Nothing: no device but loopback (I4).
    #[default]
    Sealed,
    /// The engine's usual bridge with unrestricted access. Only when asked for by name.
    Open,
}

/// Limits of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceLimits {
    /// Memory in bytes; swap is not added to it.
    #[cfg_attr(
        feature = "openapi",
        schema(minimum = 33_554_432, maximum = 17_592_186_044_416u64)
    )]
    pub memory_bytes: u64,
    /// CPU time per second of wall time, in thousandths of a core.
    #[cfg_attr(feature = "openapi", schema(minimum = 10, maximum = 1_024_000))]
    pub milli_cpus: u32,
    /// Processes and threads.
    #[cfg_attr(feature = "openapi", schema(minimum = 16, maximum = 4_194_304))]
    pub pids: u32,
}

impl Default for ResourceLimits {
    /// 4 GiB, 2 cores, 1024 processes: Claude Code alone takes about 200 MB and grows with long conversations.
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            milli_cpus: 2000,
            pids: 1024,
        }
    }
}

/// Where the storage of a container (its home directory, a scratch workspace) comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// It is made with the container, and goes again when the launch fails.
    #[default]
    Fresh,
    /// What an earlier container of the same name left is used, and what is missing is made. A launch that fails leaves
    /// all of it where it is.
    Kept,
}

/// What stands at `/workspace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkspaceVolume {
    /// Empty storage of the session, owned by the user inside, removed with the container.
    Scratch,
    /// A directory of the host.
    Host {
        /// The directory, absolute and already judged by `policy`.
        path: PathBuf,
        /// Whether the session may only read it.
        read_only: bool,
    },
}

/// A further directory of the host inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostMount {
    /// The directory or file on the host, absolute.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub source: PathBuf,
    /// Where it is seen inside, absolute.
    pub target: String,
    /// Whether the session may only read it; `true` unless the caller says otherwise.
    #[serde(default = "default_read_only")]
    pub read_only: bool,
}

fn default_read_only() -> bool {
    true
}
