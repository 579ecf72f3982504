//! [`DockerRuntime`]: the runtime's face. Each method hands its work to the module that knows how.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use session_core::error::{Error, ErrorKind, Result};
use session_core::garbage::Garbage;
use session_core::id::{ContainerId, ContainerName, ImageRef};
use session_core::label::{OwnerId, Signer};
use session_core::runtime::{
    BoxedByteStream, Capability, ContainerEvent, ContainerRuntime, ContainerSpec, ContainerStatus,
    OwnedResource, PreparedImage, Progress, RuntimeHealth, UserIds, WorkspaceVolume,
};

use crate::client::{DEFAULT_HOST, Engine, Host};
use crate::launch::Launcher;
use crate::prepare::{Preparer, derived_name};
use crate::stale::{Policy, Removed};
use crate::{bridge, health, launch, remove, since, stale, status, watch};

/// The image that `cargo xtask image` builds.
pub const DEFAULT_TOOLBOX_IMAGE: &str = "cofferdam-session:latest";

/// How an engine is reached and used. Nothing is read from the environment.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// `unix://PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`; [`DEFAULT_HOST`] when nothing is said.
    pub host: Option<String>,
    /// The image whose `/opt/cofferdam` every session gets.
    pub toolbox_image: ImageRef,
    /// The engine's name of the OCI runtime for sessions, for example `runsc`; the engine's default when nothing is
    /// said. One that the engine lacks fails every launch: there is no fallback.
    pub isolation: Option<String>,
    /// Whether an engine behind a Unix socket has the same files as this process. One that runs beside the container of this
    /// process has not: then nothing of here is mounted into a session.
    pub shares_files: bool,
    /// Signs for what serves many sessions: helpers, toolboxes, derived images. Only what it signed is ever found stale;
    /// without one nothing is. Use that of the state directory.
    pub signer: Option<Signer>,
}

impl Default for DockerOptions {
    fn default() -> Self {
        let toolbox_image = DEFAULT_TOOLBOX_IMAGE
            .parse()
            .unwrap_or_else(|_| unreachable!("the default is a reference"));
        Self {
            host: None,
            toolbox_image,
            isolation: None,
            shares_files: true,
            signer: None,
        }
    }
}

/// Sessions' containers on one Docker engine.
#[derive(Debug)]
pub struct DockerRuntime {
    engine: Engine,
    preparer: Preparer,
    launcher: Launcher,
    shares_files: bool,
    signer: Option<Signer>,
}

impl DockerRuntime {
    /// A runtime on the engine at `options.host`. Nothing is asked of the engine yet: one that is down is
    /// `EngineUnavailable` at the first call, and one that comes up later is used then.
    ///
    /// # Errors
    /// `InvalidArgument` when an option is malformed, `Unsupported` for a way to an engine that we do not go.
    pub fn connect(options: DockerOptions) -> Result<Self> {
        let host = Host::parse(options.host.as_deref().unwrap_or(DEFAULT_HOST))?;
        if let Some(name) = &options.isolation {
            judge_isolation(name)?;
        }
        Ok(Self {
            engine: Engine::new(host),
            preparer: Preparer::new(options.toolbox_image, options.signer.clone()),
            launcher: Launcher::new(options.isolation),
            shares_files: options.shares_files,
            signer: options.signer,
        })
    }

    /// Removes toolboxes of session images that were replaced, derived images whose source is gone, and what a crash
    /// left in the middle of a preparation: what the options' signer signed for, and nothing else. What is in use stays;
    /// sessions are never touched.
    ///
    /// # Errors
    /// As for any call of the engine.
    pub async fn remove_stale_toolboxes(&self) -> Result<Removed> {
        let Some(signer) = &self.signer else {
            return Ok(Removed::default());
        };
        stale::remove_stale(self.engine.handles()?, signer).await
    }
}

fn judge_isolation(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "read the isolation",
            "this is not a runtime's name",
        )
        .with_context(
            "isolation",
            name.chars().take(80).collect::<String>().escape_debug(),
        )
        .with_hint("use a name from the engine's daemon.json, for example runsc"));
    }
    Ok(())
}

fn needs_this_host(spec: &ContainerSpec) -> bool {
    spec.link_dir.is_some()
        || !spec.mounts.is_empty()
        || matches!(spec.workspace, WorkspaceVolume::Host { .. })
}

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn capability(&self) -> Capability {
        Capability {
            host_mounts: self.shares_files && self.engine.host().is_local(),
            pause: true,
            open_network: true,
            pull: true,
        }
    }

    async fn probe(&self) -> Result<RuntimeHealth> {
        let isolation = self.launcher.isolation();
        fail::fail_point!("docker.probe.before", |_| session_core::fault::engine(
            "probe the engine"
        ));
        health::probe(self.engine.handles()?, self.engine.host(), isolation).await
    }

    async fn prepare(
        &self,
        image: &ImageRef,
        user: UserIds,
        progress: &dyn Progress,
    ) -> Result<PreparedImage> {
        fail::fail_point!("docker.prepare.before", |_| session_core::fault::engine(
            "prepare the image"
        ));
        self.preparer
            .prepare(self.engine.handles()?, image, user, progress)
            .await
    }

    async fn launch(&self, spec: &ContainerSpec, image: &PreparedImage) -> Result<ContainerId> {
        if !self.capability().host_mounts && needs_this_host(spec) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "launch the container",
                "the engine does not see the directories of this machine",
            )
            .with_hint("give the workspace as a copy, or use an engine on this machine"));
        }
        let engine = self.engine.handles()?;
        let ready = self.preparer.ready(engine, image).await?;
        self.launcher.launch(engine, spec, &image.id, &ready).await
    }

    async fn started_at(&self) -> Result<Option<jiff::Timestamp>> {
        since::started_at(self.engine.handles()?).await
    }

    async fn start(&self, container: &ContainerName) -> Result<()> {
        launch::start(self.engine.handles()?, container).await
    }

    async fn discard(&self, container: &ContainerName) -> Result<()> {
        remove::discard(self.engine.handles()?, container).await
    }

    async fn has_workspace(&self, container: &ContainerName) -> Result<bool> {
        remove::has_workspace(self.engine.handles()?, container).await
    }

    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<()> {
        launch::rename(self.engine.handles()?, id, name).await
    }

    async fn bridge(&self, container: &ContainerName) -> Result<BoxedByteStream> {
        fail::fail_point!("docker.bridge.before", |_| session_core::fault::engine(
            "open a bridge to the container"
        ));
        bridge::bridge(self.engine.handles()?, container).await
    }

    async fn inspect(&self, container: &ContainerName) -> Result<ContainerStatus> {
        fail::fail_point!("docker.inspect.before", |_| session_core::fault::engine(
            "inspect the container"
        ));
        status::inspect(self.engine.handles()?, container).await
    }

    async fn list(&self, owner: &OwnerId) -> Result<Vec<OwnedResource>> {
        fail::fail_point!("docker.list.before", |_| session_core::fault::engine(
            "list containers"
        ));
        status::list(self.engine.handles()?, owner).await
    }

    async fn pause(&self, container: &ContainerName) -> Result<()> {
        fail::fail_point!("docker.pause.before", |_| session_core::fault::engine(
            "pause the container"
        ));
        status::pause(self.engine.handles()?, container).await
    }

    async fn resume(&self, container: &ContainerName) -> Result<()> {
        fail::fail_point!("docker.resume.before", |_| session_core::fault::engine(
            "resume the container"
        ));
        status::resume(self.engine.handles()?, container).await
    }

    async fn remove(&self, container: &ContainerName) -> Result<()> {
        remove::remove(self.engine.handles()?, container).await
    }

    async fn watch(&self, owner: &OwnerId) -> Result<BoxStream<'static, Result<ContainerEvent>>> {
        watch::watch(self.engine.handles()?, owner).await
    }

    async fn stale(&self, wanted: &[(ImageRef, UserIds)], unused: Duration) -> Result<Vec<Garbage>> {
        let Some(signer) = &self.signer else {
            return Ok(Vec::new());
        };
        let engine = self.engine.handles()?;
        let mut tags = HashSet::with_capacity(wanted.len());
        for (image, user) in wanted {
            tags.extend(derived_name(engine, image, *user).await?);
        }
        stale::find(engine, signer, &Policy::new(tags, unused)).await
    }

    async fn remove_stale(&self, thing: &Garbage) -> Result<bool> {
        let Some(signer) = &self.signer else {
            return Ok(false);
        };
        stale::remove(self.engine.handles()?, signer, thing).await
    }

    async fn diagnostics(&self, container: &ContainerName, limit: usize) -> Result<String> {
        status::diagnostics(self.engine.handles()?, container, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_asks_the_engine_nothing_and_judges_the_options() {
        let nowhere = DockerOptions {
            host: Some("unix:///nonexistent.sock".to_owned()),
            ..DockerOptions::default()
        };
        assert!(DockerRuntime::connect(nowhere).unwrap().capability().host_mounts);
        let remote = DockerOptions {
            host: Some("tcp://192.0.2.1:2375".to_owned()),
            ..DockerOptions::default()
        };
        assert!(!DockerRuntime::connect(remote).unwrap().capability().host_mounts);
        let beside = DockerOptions {
            shares_files: false,
            ..DockerOptions::default()
        };
        assert!(!DockerRuntime::connect(beside).unwrap().capability().host_mounts);
        for bad in ["", "a b", "../runsc", "a\0"] {
            let options = DockerOptions {
                isolation: Some(bad.to_owned()),
                ..DockerOptions::default()
            };
            assert_eq!(
                DockerRuntime::connect(options).unwrap_err().kind(),
                ErrorKind::InvalidArgument
            );
        }
    }
}
