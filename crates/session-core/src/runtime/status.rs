//! What a runtime reports.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ContainerId, ContainerName, ImageRef};

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
    /// The engine's own id of it, when it exists.
    pub id: Option<ContainerId>,
    /// Where it is in its life.
    pub state: ContainerState,
    /// PID 1's exit code, once it has ended.
    pub exit_code: Option<i64>,
    /// Whether the engine says that it ended for lack of memory.
    pub out_of_memory: bool,
    /// When it was started last, as far as the engine knows.
    pub started_at: Option<Timestamp>,
    /// When it ended, as far as the engine knows.
    pub ended_at: Option<Timestamp>,
}

impl ContainerStatus {
    /// The status of a container that does not exist.
    pub const ABSENT: Self = Self {
        id: None,
        state: ContainerState::Absent,
        exit_code: None,
        out_of_memory: false,
        started_at: None,
        ended_at: None,
    };
}

/// Something on the engine that bears an owner's label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedResource {
    /// The container's name; for storage without a container, the name of the container that it belonged to; for a
    /// container that somebody renamed, the name of its label's session.
    pub name: ContainerName,
    /// The engine's own id of the container; none of storage alone.
    pub id: Option<ContainerId>,
    /// Whether it bears another name than [`OwnedResource::name`]: somebody renamed it, or copied a label onto it.
    pub renamed: bool,
    /// Its labels, untrusted until [`crate::label::Signer`] has verified them.
    pub labels: BTreeMap<String, String>,
    /// The container's state; [`ContainerState::Absent`] for storage alone.
    pub state: ContainerState,
    /// When it was made, by the engine's clock, where the engine says so.
    pub created_at: Option<Timestamp>,
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
    /// It has another name now.
    Renamed,
}
