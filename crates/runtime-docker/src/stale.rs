//! What earlier versions and crashes left on an engine: toolboxes of images that were replaced, images derived from
//! images that are gone, helpers whose maker died. Sessions are not among it: those belong to the core's reconciler.

use std::collections::HashMap;

use bollard::errors::Error as EngineError;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListVolumesOptionsBuilder, RemoveImageOptions,
    RemoveVolumeOptions,
};
use session_core::error::{Error, Result};

use crate::client::Handles;
use crate::error::{About, failed, is_absent, status};
use crate::names::{self, HELPER_PREFIXES, PREPARED, PREPARED_REPOSITORY, TOOLBOX};
use crate::prepare::holder;
use crate::remove::remove_by_id;

const OPERATION: &str = "remove what is stale";
/// A helper lives for seconds; one that is older than this has no maker any more.
const ABANDONED_SECONDS: i64 = 60 * 60;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Containers that held a toolbox or were left in the middle of a preparation.
    pub containers: usize,
    /// Toolbox volumes.
    pub volumes: usize,
    /// Derived images.
    pub images: usize,
}

/// Removes what nobody needs any more. What is in use stays.
pub(crate) async fn remove_stale(engine: &Handles) -> Result<Removed> {
    let now = jiff::Timestamp::now().as_second();
    let mut removed = Removed::default();
    for helper in helpers(engine).await? {
        let Some(id) = helper.id.clone() else { continue };
        if !is_stale(engine, &helper, now).await? {
            continue;
        }
        remove_by_id(engine, &id).await?;
        removed.containers += 1;
        if let Some(volume) = toolbox_volume(&helper) {
            removed.volumes += usize::from(remove_volume(engine, volume).await?);
        }
    }
    removed.volumes += remove_abandoned_volumes(engine, now).await?;
    removed.images = remove_orphaned_images(engine).await?;
    Ok(removed)
}

/// Containers with a helper's name that do not run: never started, or ended after the moment that Podman needs.
async fn helpers(engine: &Handles) -> Result<Vec<ContainerSummary>> {
    let names = HELPER_PREFIXES
        .iter()
        .map(|prefix| format!("^/?{prefix}"))
        .collect();
    let filters = HashMap::from([
        ("name", names),
        ("status", vec!["created".to_owned(), "exited".to_owned()]),
    ]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let found = engine
        .quick
        .list_containers(Some(options))
        .await
        .map_err(general)?;
    Ok(found.into_iter().filter(is_helper).collect())
}

fn is_helper(container: &ContainerSummary) -> bool {
    let named = |name: &String| {
        let name = name.trim_start_matches('/');
        HELPER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let idle = matches!(
        container.state,
        Some(ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EXITED)
    );
    idle && container.names.iter().flatten().any(named)
}

/// A holder is stale when its image was replaced, any other helper when it is old.
async fn is_stale(engine: &Handles, helper: &ContainerSummary, now: i64) -> Result<bool> {
    match filled_from(helper).filter(|_| holds_a_toolbox(helper)) {
        Some(image) => Ok(!has_a_name(engine, image).await?),
        None => Ok(is_abandoned(helper.created.unwrap_or(now), now)),
    }
}

fn is_abandoned(created: i64, now: i64) -> bool {
    now.saturating_sub(created) > ABANDONED_SECONDS
}

fn filled_from(helper: &ContainerSummary) -> Option<&str> {
    let image = helper.labels.as_ref()?.get(TOOLBOX)?;
    names::is_image_id(image).then_some(image)
}

/// Whether the helper bears the name that it gets when its volume is full.
fn holds_a_toolbox(helper: &ContainerSummary) -> bool {
    filled_from(helper).is_some_and(|image| {
        let holder = holder(image);
        helper
            .names
            .iter()
            .flatten()
            .any(|name| name.trim_start_matches('/') == holder)
    })
}

fn toolbox_volume(helper: &ContainerSummary) -> Option<&str> {
    let mounts = helper.mounts.as_deref()?;
    mounts.iter().find_map(|mount| {
        mount
            .name
            .as_deref()
            .filter(|name| name.starts_with("cofferdam-toolbox-"))
    })
}

/// Toolbox volumes that no container mounts and whose filling ended in a crash.
async fn remove_abandoned_volumes(engine: &Handles, now: i64) -> Result<usize> {
    let filters = HashMap::from([("label", vec![TOOLBOX]), ("dangling", vec!["true"])]);
    let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let volumes = engine.quick.list_volumes(Some(options)).await.map_err(general)?;
    let mut removed = 0;
    for volume in volumes.volumes.unwrap_or_default() {
        let created = volume
            .created_at
            .and_then(|time| time.parse::<jiff::Timestamp>().ok());
        if created.is_some_and(|created| is_abandoned(created.as_second(), now)) {
            removed += usize::from(remove_volume(engine, &volume.name).await?);
        }
    }
    Ok(removed)
}

async fn remove_volume(engine: &Handles, name: &str) -> Result<bool> {
    let outcome = engine.slow.remove_volume(name, None::<RemoveVolumeOptions>).await;
    unless_in_use(outcome, About::Volume(name))
}

/// Derived images whose source has lost its name, or is gone.
async fn remove_orphaned_images(engine: &Handles) -> Result<usize> {
    let filters = HashMap::from([("label", vec![PREPARED])]);
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    let images = engine.quick.list_images(Some(options)).await.map_err(general)?;
    let mut removed = 0;
    for image in images {
        let prefix = format!("{PREPARED_REPOSITORY}:");
        let Some(tag) = image.repo_tags.iter().find(|tag| tag.starts_with(&prefix)) else {
            continue;
        };
        let Some(source) = image.labels.get(PREPARED).filter(|id| names::is_image_id(id)) else {
            continue;
        };
        if has_a_name(engine, source).await? {
            continue;
        }
        let outcome = engine
            .slow
            .remove_image(tag, None::<RemoveImageOptions>, None)
            .await;
        removed += usize::from(unless_in_use(outcome.map(drop), About::Image(tag))?);
    }
    Ok(removed)
}

async fn has_a_name(engine: &Handles, image_id: &str) -> Result<bool> {
    match engine.quick.inspect_image(image_id).await {
        Ok(image) => Ok([image.repo_tags, image.repo_digests]
            .iter()
            .flatten()
            .any(|names| !names.is_empty())),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(failed(OPERATION, About::Image(image_id), error)),
    }
}

/// Whether it is gone; what is in use stays without an error.
fn unless_in_use(outcome: Result<(), EngineError>, about: About<'_>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) || status(&error) == Some(409) => Ok(false),
        Err(error) => Err(failed(OPERATION, about, error)),
    }
}

fn general(error: EngineError) -> Error {
    failed(OPERATION, About::Engine, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper(name: &str, toolbox: Option<&str>) -> ContainerSummary {
        ContainerSummary {
            names: Some(vec![format!("/{name}")]),
            labels: toolbox.map(|id| HashMap::from([(TOOLBOX.to_owned(), id.to_owned())])),
            ..ContainerSummary::default()
        }
    }

    #[test]
    fn a_holder_is_told_from_a_helper_that_still_fills() {
        let image = format!("sha256:{}", "ab".repeat(32));
        assert!(holds_a_toolbox(&helper(&holder(&image), Some(&image))));
        assert!(!holds_a_toolbox(&helper(
            "cofferdam-toolbox-fill-0123456789abcdef",
            Some(&image)
        )));
        assert!(!holds_a_toolbox(&helper(&holder(&image), None)));
        assert!(!holds_a_toolbox(&helper(&holder(&image), Some("../x"))));
    }

    #[test]
    fn a_session_is_no_helper_whatever_its_image_says() {
        let created = |name: &str, state| ContainerSummary {
            state: Some(state),
            ..helper(name, Some("sha256:x"))
        };
        let session = "cofferdam-0f0e0d0c-0b0a-4908-8706-050403020100";
        assert!(!is_helper(&created(session, ContainerSummaryStateEnum::CREATED)));
        assert!(!is_helper(&created(
            "cofferdam-prepare-x",
            ContainerSummaryStateEnum::RUNNING
        )));
        assert!(is_helper(&created(
            "cofferdam-prepare-x",
            ContainerSummaryStateEnum::CREATED
        )));
    }

    #[test]
    fn only_old_helpers_are_abandoned() {
        assert!(!is_abandoned(1_000_000, 1_000_000));
        assert!(!is_abandoned(1_000_060, 1_000_000), "a clock that went back");
        assert!(is_abandoned(1_000_000, 1_010_000));
    }
}
