//! What a runtime reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{ContainerName, ImageRef};

/// An image from which containers can be launched now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedImage {
    /// The reference that was asked for.
    pub requested: ImageRef,
    /// The runtime's own name for what will be launched, exact and unchanging (an engine's image id).
    pub id: String,
}

/// Whether an engine works, and what it cannot promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RuntimeHealth {
    /// The engine's name and version.
    pub version: String,
    /// Promises of isolation that this engine cannot keep, each a sentence with the remedy.
    pub findings: Vec<String>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// There is no such container.
    Absent,
    /// Made and not started.
    Created,
    /// Its processes run.
    Running,
    /// Its processes are frozen.
    Paused,
    /// PID 1 has ended.
    Exited,
}

/// What is true of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Where it is in its life.
    pub state: ContainerState,
    /// PID 1's exit code, once it has ended.
    pub exit_code: Option<i64>,
    /// Whether the engine says that it ended for lack of memory.
    pub out_of_memory: bool,
}

impl ContainerStatus {
    /// The status of a container that does not exist.
    pub const ABSENT: Self = Self {
        state: ContainerState::Absent,
        exit_code: None,
        out_of_memory: false,
    };
}

/// Something on the engine that bears an owner's label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedResource {
    /// The container's name; for storage without a container, the name of the container that it belonged to.
    pub name: ContainerName,
    /// Its labels, untrusted until [`crate::label::Signer`] has verified them.
    pub labels: BTreeMap<String, String>,
    /// The container's state; [`ContainerState::Absent`] for storage alone.
    pub state: ContainerState,
}

/// A fact about a container, as it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEvent {
    /// The container.
    pub name: ContainerName,
    /// What happened.
    pub kind: ContainerEventKind,
}

/// What can happen to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerEventKind {
    /// It runs.
    Started,
    /// PID 1 ended.
    Exited {
        /// Its exit code.
        code: Option<i64>,
    },
    /// The kernel killed a process of it for lack of memory.
    OutOfMemory,
    /// Frozen.
    Paused,
    /// Going on.
    Resumed,
    /// Gone from the engine.
    Removed,
}
