//! One create and one start; what a failure made is removed before it is reported.
//!
//! A launch that is cancelled half way (its future dropped, this process killed) leaves what the engine had made by then.
//! It bears the session's labels, so the core's reconciler finds and removes it: nothing is cleaned up from `Drop`.

use std::sync::atomic::{AtomicBool, Ordering};

use bollard::models::{ContainerCreateBody, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, RenameContainerOptionsBuilder,
    StartContainerOptions,
};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{ContainerId, ContainerName};
use session_core::runtime::{ContainerSpec, Storage, WorkspaceVolume};
use tokio::sync::OnceCell;

use crate::client::Handles;
use crate::error::{About, failed, is_absent, status};
use crate::hardening::{Surroundings, create_body};
use crate::health;
use crate::names::{home_volume, workspace_volume};
use crate::prepare::Ready;
use crate::remove::{own_volume, remove_by_id, remove_storage};

const OPERATION: &str = "launch the container";

/// Launches containers on one engine.
#[derive(Debug)]
pub(crate) struct Launcher {
    isolation: Option<String>,
    /// Set when the engine could not mount a file of its own volume, as one in a virtual machine of a desktop may not.
    /// It then manages the networks itself, and launches take longer.
    hides_volumes: AtomicBool,
    /// Whether the engine is Podman, once it was asked.
    podman: OnceCell<bool>,
}

impl Launcher {
    pub(crate) fn new(isolation: Option<String>) -> Self {
        Self {
            isolation,
            hides_volumes: AtomicBool::new(false),
            podman: OnceCell::new(),
        }
    }

    pub(crate) fn isolation(&self) -> Option<&str> {
        self.isolation.as_deref()
    }

    /// Makes and starts the container of `spec` from a prepared image.
    pub(crate) async fn launch(
        &self,
        engine: &Handles,
        spec: &ContainerSpec,
        image: &str,
        ready: &Ready,
    ) -> Result<ContainerId> {
        check_storage(engine, spec).await?;
        let podman = *self.podman.get_or_try_init(|| health::is_podman(engine)).await?;
        if podman {
            refuse_missing(spec).await?;
            make_storage(engine, spec).await?;
        }
        let hosts = ready
            .toolbox
            .hosts
            .as_deref()
            .filter(|_| !self.hides_volumes.load(Ordering::Relaxed));
        let surroundings = Surroundings {
            image,
            image_volumes: &ready.volumes,
            toolbox: &ready.toolbox.volume,
            hosts,
            isolation: self.isolation.as_deref(),
            podman,
        };
        let body = Box::new(create_body(spec, &surroundings)?);
        let launched = create_and_start(engine, spec, body).await;
        let id = match (launched, hosts) {
            (Err(error), Some(hosts)) if refuses(&error, hosts) => {
                self.hides_volumes.store(true, Ordering::Relaxed);
                let body = Box::new(create_body(
                    spec,
                    &Surroundings {
                        hosts: None,
                        ..surroundings
                    },
                )?);
                create_and_start(engine, spec, body).await?
            }
            (launched, _) => launched?,
        };
        id.parse()
    }
}

/// Whether the engine refused the launch because of the file at `path`.
fn refuses(error: &Error, path: &str) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WorkspaceMissing | ErrorKind::EngineFailed
    ) && error.context().iter().any(|(_, value)| value.contains(path))
}

/// Storage under our name that is not ours is never used.
async fn check_storage(engine: &Handles, spec: &ContainerSpec) -> Result<()> {
    if spec.storage == Storage::Fresh {
        return Ok(());
    }
    futures::try_join!(
        own_volume(engine, &spec.name, home_volume(&spec.name)),
        own_volume(engine, &spec.name, workspace_volume(&spec.name)),
    )?;
    Ok(())
}

/// Podman makes a directory of the host that is to be mounted and is not there.
async fn refuse_missing(spec: &ContainerSpec) -> Result<()> {
    let workspace = match &spec.workspace {
        WorkspaceVolume::Host { path, .. } => Some(path),
        WorkspaceVolume::Scratch => None,
    };
    for path in workspace
        .into_iter()
        .chain(spec.mounts.iter().map(|mount| &mount.source))
    {
        if !tokio::fs::try_exists(path).await.unwrap_or(false) {
            return Err(Error::new(
                ErrorKind::WorkspaceMissing,
                OPERATION,
                "a directory that is to be mounted is not there",
            )
            .with_context("path", path.display()));
        }
    }
    Ok(())
}

/// Makes the session's volumes under their labels: Podman takes none from a container's mounts. One that is there stays as it
/// is, and what a failed launch has made is removed with the rest of it.
async fn make_storage(engine: &Handles, spec: &ContainerSpec) -> Result<()> {
    let scratch = matches!(spec.workspace, WorkspaceVolume::Scratch).then(|| workspace_volume(&spec.name));
    for name in std::iter::once(home_volume(&spec.name)).chain(scratch) {
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(spec.labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let created = engine.slow.create_volume(request).await;
        created.map_err(|error| failed(OPERATION, About::Volume(&name), error))?;
    }
    Ok(())
}

async fn create_and_start(
    engine: &Handles,
    spec: &ContainerSpec,
    body: Box<ContainerCreateBody>,
) -> Result<String> {
    let name = &spec.name;
    fail::fail_point!("docker.create.before", |_| session_core::fault::engine(OPERATION));
    let id = create(engine, spec, body).await?;
    fail::fail_point!("docker.create.after", |_| session_core::fault::engine(OPERATION));
    let started = engine
        .slow
        .start_container(&id, None::<StartContainerOptions>)
        .await;
    fail::fail_point!("docker.start.after", |_| session_core::fault::engine(OPERATION));
    let Err(error) = started else { return Ok(id) };
    let error = failed(OPERATION, About::Container(name.as_str()), error);
    Err(match undo(engine, spec, &id).await {
        Ok(()) => error,
        Err(left) => error.with_context("left_behind", left),
    })
}

async fn create(engine: &Handles, spec: &ContainerSpec, body: Box<ContainerCreateBody>) -> Result<String> {
    let name = &spec.name;
    let options = CreateContainerOptionsBuilder::default()
        .name(name.as_str())
        .build();
    match engine.slow.create_container(Some(options), *body).await {
        Ok(created) => Ok(created.id),
        Err(error) => {
            // The name is taken: whatever storage there is belongs to the one that has it.
            if is_taken(&error) {
                return Err(Error::new(
                    ErrorKind::StateConflict,
                    OPERATION,
                    "another container bears its name",
                )
                .with_context("container", name)
                .with_source(error));
            }
            let conflict = status(&error) == Some(409);
            let error = failed(OPERATION, About::Container(name.as_str()), error);
            if conflict || spec.storage != Storage::Fresh {
                return Err(error);
            }
            // An engine makes the volumes of a container before it looks at the rest.
            Err(match remove_storage(engine, name).await {
                Ok(()) => error,
                Err(left) => error.with_context("left_behind", left),
            })
        }
    }
}

/// Podman's way to say 409.
fn is_taken(error: &bollard::errors::Error) -> bool {
    matches!(
        error,
        bollard::errors::Error::DockerResponseServerError { status_code: 500, message }
            if message.contains("name is already in use")
    )
}

async fn undo(engine: &Handles, spec: &ContainerSpec, id: &str) -> Result<(), Error> {
    fail::fail_point!("docker.undo.before", |_| session_core::fault::engine(OPERATION));
    remove_by_id(engine, id).await?;
    match spec.storage {
        Storage::Fresh => remove_storage(engine, &spec.name).await,
        Storage::Kept => Ok(()),
    }
}

/// Starts a container again that has ended.
pub(crate) async fn start(engine: &Handles, name: &ContainerName) -> Result<()> {
    const OPERATION: &str = "start the container again";
    fail::fail_point!("docker.start_again.before", |_| session_core::fault::engine(
        OPERATION
    ));
    let started = engine
        .slow
        .start_container(name.as_str(), None::<StartContainerOptions>)
        .await;
    match started {
        Ok(()) => Ok(()),
        // It runs.
        Err(error) if status(&error) == Some(304) => Ok(()),
        Err(error) if is_absent(&error) => {
            Err(
                Error::new(ErrorKind::ContainerLost, OPERATION, "there is no such container")
                    .with_context("container", name)
                    .with_source(error),
            )
        }
        Err(error) => Err(failed(OPERATION, About::Container(name.as_str()), error)),
    }
}

/// Gives a container its name back.
pub(crate) async fn rename(engine: &Handles, id: &ContainerId, name: &ContainerName) -> Result<()> {
    const OPERATION: &str = "give the container its name back";
    fail::fail_point!("docker.rename.before", |_| session_core::fault::engine(OPERATION));
    let options = RenameContainerOptionsBuilder::default()
        .name(name.as_str())
        .build();
    let Err(error) = engine.slow.rename_container(id.as_str(), options).await else {
        return Ok(());
    };
    if is_absent(&error) {
        return Err(
            Error::new(ErrorKind::ContainerLost, OPERATION, "there is no such container")
                .with_context("id", id)
                .with_source(error),
        );
    }
    // Engines refuse a name that the container has already: who bears it tells what the refusal meant.
    let bearer = engine
        .quick
        .inspect_container(name.as_str(), None::<InspectContainerOptions>)
        .await;
    match bearer {
        Ok(found) if found.id.as_deref() == Some(id.as_str()) => Ok(()),
        Ok(_) => Err(Error::new(
            ErrorKind::StateConflict,
            OPERATION,
            "another container bears its name",
        )
        .with_context("container", name)
        .with_hint("rename or remove that one by hand")
        .with_source(error)),
        Err(_) => Err(failed(OPERATION, About::Container(name.as_str()), error)),
    }
}
