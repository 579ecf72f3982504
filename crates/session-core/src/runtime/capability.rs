//! What a runtime can do, declared once, so that the core refuses early and in one voice.

use serde::{Deserialize, Serialize};

/// The optional abilities of a [`super::ContainerRuntime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capability {
    /// A directory of this host can be mounted, so the link may use a Unix socket and a workspace may be `mount`.
    pub host_mounts: bool,
    /// Containers can be frozen and go on later.
    pub pause: bool,
    /// Containers can have a network other than loopback.
    pub open_network: bool,
    /// Images can be fetched from a registry.
    pub pull: bool,
}
