//! What makes containers: the trait that an engine implements, and what it is told.
//!
//! Nothing here belongs to one engine. A container is named by its session, holds one user process (`session-init`),
//! and is reached through the link alone. Durability, ordering and policy live above this trait: a runtime does one
//! thing when asked and reports what is.

mod capability;
mod layers;
mod spec;
mod status;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::capability::Capability;
pub use self::layers::{Guarded, TimeLimits};
pub use self::spec::{
    ContainerSpec, HostMount, NetworkMode, ResourceLimits, Storage, UserIds, WorkspaceVolume,
};
pub use self::status::{
    ContainerEvent, ContainerEventKind, ContainerState, ContainerStatus, OwnedResource, PreparedImage,
    RuntimeHealth,
};
use crate::error::Result;
use crate::garbage::Garbage;
use crate::id::{ContainerId, ContainerName, ImageRef};
use crate::label::OwnerId;

/// A byte stream in both directions, as a carrier of the link or one tunnel.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// An owned [`ByteStream`].
pub type BoxedByteStream = Box<dyn ByteStream>;

/// Where a preparation of an image tells how far it is. Calls must be cheap and never block.
pub trait Progress: Send + Sync {
    /// `message` replaces what was said before, for example `pulling debian:12: 40 of 80 MB`.
    fn update(&self, message: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn update(&self, _message: &str) {}
}

/// Makes, finds, reaches and removes the containers of sessions.
///
/// Every bullet under `# Behavior` is a test of the conformance suite in `testkit`, which each implementation passes.
/// Implementations do not retry, time out or log: [`Guarded`] does it for all of them.
#[async_trait]
pub trait ContainerRuntime: fmt::Debug + Send + Sync + 'static {
    /// The runtime's short name, for example `docker`.
    fn name(&self) -> &'static str;

    /// What this runtime can do. The manager refuses what is missing before the runtime sees it.
    fn capability(&self) -> Capability;

    /// Asks the engine whether it works.
    ///
    /// # Behavior
    /// - Answers with the engine's version when it is up.
    /// - Fails with `EngineUnavailable` and a hint when nobody answers.
    /// - Lists promises of isolation that this engine cannot keep as findings.
    async fn probe(&self) -> Result<RuntimeHealth>;

    /// Since when the engine runs, as far as that can be told. A container that ended around this moment ended with the
    /// engine.
    ///
    /// # Behavior
    /// - Says the same until the engine starts again, and then a later moment; or always `None`.
    async fn started_at(&self) -> Result<Option<Timestamp>>;

    /// Makes sure that containers can be launched from `image` for `user`, fetching or deriving what is missing.
    ///
    /// # Behavior
    /// - Is idempotent; a second call for the same image and user does no work that takes long.
    /// - Fails with `ImageNotFound` when the image is neither present nor can be fetched.
    /// - Nothing that the image declares (user, entry point, working directory, volumes, health check, labels) takes
    ///   part in how its containers are launched.
    async fn prepare(
        &self,
        image: &ImageRef,
        user: UserIds,
        progress: &dyn Progress,
    ) -> Result<PreparedImage>;

    /// Makes and starts the container of a session.
    ///
    /// # Behavior
    /// - `session-init` runs as PID 1, as `spec.user`, when this returns.
    /// - The network is what `spec.network` says; with [`NetworkMode::Sealed`] there is no device but loopback.
    /// - The root file system is read-only; `/tmp`, `/workspace` and the home directory can be written by the user.
    /// - No capability, no new privileges, limits on memory (swap included), CPU and processes are in force.
    /// - A second launch under the same name fails with `StateConflict` and leaves the first alone.
    /// - On failure nothing of this launch is left behind.
    /// - With [`Storage::Kept`] it finds in its storage what an earlier container of its name left there, and makes what is
    ///   missing; a launch that fails leaves that storage.
    /// - The id that it answers with stays the container's when somebody renames it.
    async fn launch(&self, spec: &ContainerSpec, image: &PreparedImage) -> Result<ContainerId>;

    /// Starts the container again that has ended, with everything as it was launched.
    ///
    /// # Behavior
    /// - `session-init` runs as PID 1 when this returns, and the storage is as it was.
    /// - Starting a running container succeeds and changes nothing.
    /// - Fails with `ContainerLost` when there is no such container.
    async fn start(&self, container: &ContainerName) -> Result<()>;

    /// Ends the container and removes it, and leaves its storage for another one of its name.
    ///
    /// # Behavior
    /// - Is idempotent: discarding what is gone succeeds.
    /// - The container is gone when this returns, and its storage is as it was.
    /// - Touches nothing but what carries this container's name and our label.
    async fn discard(&self, container: &ContainerName) -> Result<()>;

    /// Whether the container of this name, or what one left, has a workspace of its own: one that is missing is made by a launch
    /// with [`Storage::Kept`], and is empty then.
    ///
    /// # Behavior
    /// - Says so from its launch until its storage is removed, whether or not there is a container.
    /// - Fails with `StateConflict` when what bears its name is not ours.
    async fn has_workspace(&self, container: &ContainerName) -> Result<bool>;

    /// Gives the container with this id its name back.
    ///
    /// # Behavior
    /// - It is found under `name` afterwards, as it was but for that.
    /// - Renaming what bears the name already succeeds.
    /// - Fails with `StateConflict` when another container bears the name, and with `ContainerLost` when there is none
    ///   with this id.
    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<()>;

    /// Opens a fresh byte stream to `session-init` through the engine (the `bridge` carrier).
    ///
    /// # Behavior
    /// - Carries any bytes unchanged in both directions; ending one direction leaves the other open.
    /// - Fails with `ContainerLost` when the container does not run.
    async fn bridge(&self, container: &ContainerName) -> Result<BoxedByteStream>;

    /// What is true of one container now.
    ///
    /// # Behavior
    /// - Says [`ContainerState::Absent`] for a container that does not exist.
    /// - Tells running, paused and exited apart, and says when the engine's OOM killer ended it.
    /// - Says the id with which it was launched, when it was started last, and when it ended.
    async fn inspect(&self, container: &ContainerName) -> Result<ContainerStatus>;

    /// Everything that bears the label of `owner`: containers in any state and storage without a container.
    ///
    /// # Behavior
    /// - Lists each container once, with its labels, whatever its state.
    /// - Lists storage that outlived its container.
    /// - Never lists what another owner made.
    /// - Lists a container that somebody renamed under the name of its label's session, and says so.
    async fn list(&self, owner: &OwnerId) -> Result<Vec<OwnedResource>>;

    /// Freezes every process of the container.
    ///
    /// # Behavior
    /// - Pausing a paused container succeeds.
    /// - Fails with `ContainerLost` when there is no such container.
    async fn pause(&self, container: &ContainerName) -> Result<()>;

    /// Lets a paused container go on.
    ///
    /// # Behavior
    /// - Resuming a running container succeeds.
    /// - Fails with `ContainerLost` when there is no such container.
    async fn resume(&self, container: &ContainerName) -> Result<()>;

    /// Ends the container and removes it with its storage, whatever its state.
    ///
    /// # Behavior
    /// - Is idempotent: removing what is gone succeeds.
    /// - Container and storage are gone when this returns.
    /// - Touches nothing but what carries this container's name and our label.
    async fn remove(&self, container: &ContainerName) -> Result<()>;

    /// Facts about the containers of `owner` from now on.
    ///
    /// # Behavior
    /// - Reports an exit, a removal, a pause, a resume, a new name and an out-of-memory kill within a second.
    /// - Reports what happens to a container that somebody renamed under the name of its label's session.
    /// - Ends with an error when the engine goes away; the caller then lists and watches again.
    async fn watch(&self, owner: &OwnerId) -> Result<BoxStream<'static, Result<ContainerEvent>>>;

    /// What this runtime made on the engine for itself and nobody needs any more: what a preparation left that was broken
    /// off, what serves images that were replaced, and what was derived for sessions and not used for so long. `wanted`
    /// are the images that sessions used since.
    ///
    /// # Behavior
    /// - Lists nothing that belongs to a session, that is in use, or that this runtime did not make.
    /// - Lists nothing that was made or wanted within `unused`, unless its source is gone.
    async fn stale(&self, wanted: &[(ImageRef, UserIds)], unused: Duration) -> Result<Vec<Garbage>> {
        let _ = (wanted, unused);
        Ok(Vec::new())
    }

    /// Removes one thing that [`ContainerRuntime::stale`] listed. Answers whether it is gone.
    ///
    /// # Behavior
    /// - Is idempotent: removing what is gone succeeds.
    /// - Leaves what is used again, and what this runtime did not make.
    async fn remove_stale(&self, thing: &Garbage) -> Result<bool> {
        let _ = thing;
        Ok(false)
    }

    /// The last `limit` bytes of what PID 1 wrote, to explain a container that died. Lossy, untrusted text.
    ///
    /// # Behavior
    /// - Answers with an empty text for a container that wrote nothing or does not exist.
    async fn diagnostics(&self, container: &ContainerName, limit: usize) -> Result<String>;
}
