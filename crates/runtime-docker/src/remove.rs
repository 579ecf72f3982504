//! The end of a container and its storage: ours alone, and gone when the call returns.
//!
//! The looks that tell ours from others' go out together, then the one slow call, then the volumes together: what is
//! added to the engine's own removal is two short rounds.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ContainerName;

use crate::client::Handles;
use crate::error::{About, failed, is_absent, status};
use crate::names::{self, home_volume, workspace_volume};
use crate::status::look;

const OPERATION: &str = "remove the container";

/// How often a removal that somebody else began is looked at. The core bounds the whole wait.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Removes the container and its storage, whatever their state.
pub(crate) async fn remove(engine: &Handles, name: &ContainerName) -> Result<()> {
    let (home, workspace) = (home_volume(name), workspace_volume(name));
    let (container, home, workspace) = futures::try_join!(
        own_container(engine, name),
        own_volume(engine, name, home),
        own_volume(engine, name, workspace),
    )?;
    fail::fail_point!("docker.remove.before", |_| session_core::fault::engine(OPERATION));
    if let Some(id) = container {
        remove_by_id(engine, &id).await?;
    }
    fail::fail_point!("docker.remove.container_gone", |_| session_core::fault::engine(
        OPERATION
    ));
    futures::try_join!(
        remove_volume(engine, name, home.as_deref()),
        remove_volume(engine, name, workspace.as_deref()),
    )?;
    Ok(())
}

/// Removes the container and leaves its storage.
pub(crate) async fn discard(engine: &Handles, name: &ContainerName) -> Result<()> {
    match own_container(engine, name).await? {
        Some(id) => remove_by_id(engine, &id).await,
        None => Ok(()),
    }
}

/// Removes the storage of a container that is gone or was never made.
pub(crate) async fn remove_storage(engine: &Handles, name: &ContainerName) -> Result<()> {
    futures::try_join!(
        async {
            remove_volume(
                engine,
                name,
                own_volume(engine, name, home_volume(name)).await?.as_deref(),
            )
            .await
        },
        async {
            remove_volume(
                engine,
                name,
                own_volume(engine, name, workspace_volume(name)).await?.as_deref(),
            )
            .await
        },
    )?;
    Ok(())
}

/// Removes one container by force, and waits when somebody else is about it.
pub(crate) async fn remove_by_id(engine: &Handles, id: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    match engine.slow.remove_container(id, Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) if is_under_way(&error) => until_gone(engine, id).await,
        Err(error) => Err(failed(OPERATION, About::Container(id), error)),
    }
}

fn is_under_way(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::DockerResponseServerError { status_code: 409, message } if message.contains("already in progress")
    )
}

async fn until_gone(engine: &Handles, id: &str) -> Result<()> {
    loop {
        match look(engine, id).await {
            Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(failed(OPERATION, About::Container(id), error)),
        }
    }
}

/// The id of the container of this name; `None` when there is none.
///
/// # Errors
/// `StateConflict` when the container of this name is not ours: nothing is touched then.
async fn own_container(engine: &Handles, name: &ContainerName) -> Result<Option<String>> {
    match look(engine, name.as_str()).await {
        Ok(container) => {
            let labels = container
                .config
                .and_then(|config| config.labels)
                .unwrap_or_default();
            if names::claims(&labels, name) {
                Ok(container.id)
            } else {
                Err(foreign(About::Container(name.as_str())))
            }
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(OPERATION, About::Container(name.as_str()), error)),
    }
}

/// Whether there is a workspace of this container, in use or left.
pub(crate) async fn has_workspace(engine: &Handles, name: &ContainerName) -> Result<bool> {
    let found = own_volume(engine, name, workspace_volume(name)).await?;
    Ok(found.is_some())
}

/// The volume's name again, when it is there and ours.
pub(crate) async fn own_volume(
    engine: &Handles,
    name: &ContainerName,
    volume: String,
) -> Result<Option<String>> {
    // Several of these wait together: in a box, so that whoever launches does not carry them all.
    match Box::pin(engine.quick.inspect_volume(&volume)).await {
        Ok(found) if names::claims(&found.labels, name) => Ok(Some(volume)),
        Ok(_) => Err(foreign(About::Volume(&volume))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(OPERATION, About::Volume(&volume), error)),
    }
}

fn foreign(what: About<'_>) -> Error {
    let error = Error::new(
        ErrorKind::StateConflict,
        OPERATION,
        "what bears this name is not ours",
    )
    .with_hint("look at its labels, and rename or remove it by hand");
    match what {
        About::Container(name) => error.with_context("container", name),
        About::Volume(name) => error.with_context("volume", name),
        About::Engine | About::Image(_) => error,
    }
}

async fn remove_volume(engine: &Handles, name: &ContainerName, volume: Option<&str>) -> Result<()> {
    let Some(volume) = volume else { return Ok(()) };
    fail::fail_point!("docker.volume.before", |_| session_core::fault::engine(OPERATION));
    let Err(error) = delete_volume(engine, volume).await else {
        return Ok(());
    };
    if status(&error) != Some(409) {
        return Err(failed(OPERATION, About::Volume(volume), error));
    }
    // Somebody renamed our container: under its own name it is gone, and it still holds the storage.
    Box::pin(remove_renamed(engine, name, volume)).await?;
    delete_volume(engine, volume)
        .await
        .map_err(|error| failed(OPERATION, About::Volume(volume), error))
}

async fn delete_volume(engine: &Handles, volume: &str) -> Result<(), EngineError> {
    match engine
        .slow
        .remove_volume(volume, None::<RemoveVolumeOptions>)
        .await
    {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Containers that hold `volume` and bear the labels of the session whose name `volume` carries.
async fn remove_renamed(engine: &Handles, name: &ContainerName, volume: &str) -> Result<()> {
    let filters = HashMap::from([("volume", vec![volume])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let holders = engine
        .quick
        .list_containers(Some(options))
        .await
        .map_err(|error| failed(OPERATION, About::Volume(volume), error))?;
    for holder in holders {
        if let Some(id) = holder.id
            && names::claims(&holder.labels.unwrap_or_default(), name)
        {
            remove_by_id(engine, &id).await?;
        }
    }
    Ok(())
}
