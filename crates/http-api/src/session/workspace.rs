//! What a session sees of the host, and what it is given to work on.

use serde::{Deserialize, Serialize};
use session_core::error::{Error, Result};
use session_core::runtime::HostMount;
use session_core::session::WorkspaceSource;
use utoipa::ToSchema;

use super::utf8;

use crate::object::objects;

/// What is at `/workspace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum WorkspaceBody {
    /// Nothing: an empty directory.
    Empty {},
    /// The host's directory itself: what the agent changes is changed.
    Mount {
        /// The directory, absolute.
        #[schema(pattern = r"^/+([^/\x00]{1,255}/*)*$", max_length = 4_095)]
        path: String,
    },
    /// A copy of the host's directory, without what its `.gitignore` files exclude.
    Copy {
        /// The directory, absolute.
        #[schema(pattern = r"^/+([^/\x00]{1,255}/*)*$", max_length = 4_095)]
        path: String,
    },
    /// A git repository, cloned inside the session.
    Clone {
        /// Its address, `https://` or `http://`, without credentials.
        #[schema(
            pattern = r"^https?://[A-Za-z0-9.][A-Za-z0-9.-]*(:[0-9]*)?(/[!-\[\]-~]*)?$",
            max_length = 2_048
        )]
        url: String,
        /// The branch, tag or commit; the repository's own default when it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(
            pattern = r"^[A-Za-z0-9_/+@#=]([A-Za-z0-9_/+@#=-]|\.(?!\.))*$",
            max_length = 256
        )]
        reference: Option<String>,
    },
}

impl Default for WorkspaceBody {
    fn default() -> Self {
        Self::Empty {}
    }
}

impl From<WorkspaceBody> for WorkspaceSource {
    fn from(body: WorkspaceBody) -> Self {
        match body {
            WorkspaceBody::Empty {} => Self::Empty,
            WorkspaceBody::Mount { path } => Self::Mount { path: path.into() },
            WorkspaceBody::Copy { path } => Self::Copy { path: path.into() },
            WorkspaceBody::Clone { url, reference } => Self::Clone { url, reference },
        }
    }
}

impl TryFrom<WorkspaceSource> for WorkspaceBody {
    type Error = Error;

    fn try_from(source: WorkspaceSource) -> Result<Self> {
        Ok(match source {
            WorkspaceSource::Empty => Self::Empty {},
            WorkspaceSource::Mount { path } => Self::Mount { path: utf8(path)? },
            WorkspaceSource::Copy { path } => Self::Copy { path: utf8(path)? },
            WorkspaceSource::Clone { url, reference } => Self::Clone { url, reference },
        })
    }
}

/// A further directory of the host inside the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"source": "/srv/data", "target": "/data"}))]
pub struct MountBody {
    /// The directory or file on the host, absolute.
    #[schema(pattern = r"^/+([^/\x00]{1,255}/*)*$", max_length = 4_095)]
    pub source: String,
    /// Where it is seen inside, absolute.
    #[schema(pattern = r"^(/(?!\.\.?(/|$))[^\x00/]+)+$", max_length = 4_095)]
    pub target: String,
    /// Whether the session may only read it.
    #[serde(default = "default_read_only")]
    pub read_only: bool,
}

fn default_read_only() -> bool {
    true
}

impl From<MountBody> for HostMount {
    fn from(body: MountBody) -> Self {
        Self {
            source: body.source.into(),
            target: body.target,
            read_only: body.read_only,
        }
    }
}

impl TryFrom<HostMount> for MountBody {
    type Error = Error;

    fn try_from(mount: HostMount) -> Result<Self> {
        Ok(Self {
            source: utf8(mount.source)?,
            target: mount.target,
            read_only: mount.read_only,
        })
    }
}

objects!(WorkspaceBody, MountBody);
