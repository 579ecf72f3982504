//! One create and one start; what a failure made is removed before it is reported.
//!
//! A launch that is cancelled half way (its future dropped, this process killed) leaves what the engine had made by then.
//! It bears the session's labels, so the core's reconciler finds and removes it: nothing is cleaned up from `Drop`.

use std::sync::atomic::{AtomicBool, Ordering};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ContainerName;
use session_core::runtime::ContainerSpec;

use crate::client::Handles;
use crate::error::{About, failed, status};
use crate::hardening::{Surroundings, create_body};
use crate::prepare::Ready;
use crate::remove::{remove_by_id, remove_storage};

const OPERATION: &str = "launch the container";

/// Launches containers on one engine.
#[derive(Debug)]
pub(crate) struct Launcher {
    isolation: Option<String>,
    /// Set when the engine could not mount a file of its own volume, as one in a virtual machine of a desktop may not.
    /// It then manages the networks itself, and launches take longer.
    hides_volumes: AtomicBool,
}

impl Launcher {
    pub(crate) fn new(isolation: Option<String>) -> Self {
        Self {
            isolation,
            hides_volumes: AtomicBool::new(false),
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
    ) -> Result<()> {
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
        };
        let body = Box::new(create_body(spec, &surroundings)?);
        let launched = create_and_start(engine, &spec.name, body).await;
        let Some(hosts) = hosts else { return launched };
        match launched {
            Err(error) if refuses(&error, hosts) => {
                self.hides_volumes.store(true, Ordering::Relaxed);
                let body = Box::new(create_body(
                    spec,
                    &Surroundings {
                        hosts: None,
                        ..surroundings
                    },
                )?);
                create_and_start(engine, &spec.name, body).await
            }
            launched => launched,
        }
    }
}

/// Whether the engine refused the launch because of the file at `path`.
fn refuses(error: &Error, path: &str) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WorkspaceMissing | ErrorKind::EngineFailed
    ) && error.context().iter().any(|(_, value)| value.contains(path))
}

async fn create_and_start(
    engine: &Handles,
    name: &ContainerName,
    body: Box<ContainerCreateBody>,
) -> Result<()> {
    let id = create(engine, name, body).await?;
    let started = engine
        .slow
        .start_container(&id, None::<StartContainerOptions>)
        .await;
    let Err(error) = started else { return Ok(()) };
    let error = failed(OPERATION, About::Container(name.as_str()), error);
    Err(match undo(engine, name, &id).await {
        Ok(()) => error,
        Err(left) => error.with_context("left_behind", left),
    })
}

async fn create(engine: &Handles, name: &ContainerName, body: Box<ContainerCreateBody>) -> Result<String> {
    let options = CreateContainerOptionsBuilder::default()
        .name(name.as_str())
        .build();
    match engine.slow.create_container(Some(options), *body).await {
        Ok(created) => Ok(created.id),
        Err(error) => {
            // The name is taken: whatever storage there is belongs to the one that has it.
            let conflict = status(&error) == Some(409);
            let error = failed(OPERATION, About::Container(name.as_str()), error);
            if conflict {
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

async fn undo(engine: &Handles, name: &ContainerName, id: &str) -> Result<(), Error> {
    remove_by_id(engine, id).await?;
    remove_storage(engine, name).await
}
