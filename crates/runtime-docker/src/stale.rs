//! What earlier versions and crashes left on an engine: toolboxes of images that were replaced, images derived from
//! images that are gone, helpers whose maker died. Sessions are not among it: those belong to the core's reconciler.
//!
//! Only what our owner signed for is among it (I9), and it is judged again before it is removed. What earlier versions
//! made without a signature is left to a person.

mod ours;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions,
};
use session_core::error::{Error, Result};
use session_core::garbage::{Garbage, GarbageKind};
use session_core::label::Signer;

use self::ours::{Ours, filled_from, holds_a_toolbox, local, name_of};
use crate::client::Handles;
use crate::error::{About, failed, is_absent, status};
use crate::names::{self, PREPARED, TOOLBOX};
use crate::remove::remove_by_id;

const OPERATION: &str = "remove what is stale";
/// A helper lives for seconds, and a launch follows its preparation at once: what is older than this serves nobody who
/// is about to use it.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

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

/// What is stale.
pub(crate) struct Policy {
    /// Derived images, by their tags, that sessions used lately.
    pub(crate) wanted: HashSet<String>,
    /// A derived image that was made longer ago than this and is not wanted is stale.
    pub(crate) unused: Duration,
    /// What serves images that are gone is stale when it is older than this.
    pub(crate) grace: Duration,
}

impl Policy {
    pub(crate) fn new(wanted: HashSet<String>, unused: Duration) -> Self {
        Self {
            wanted,
            unused,
            grace: ABANDONED,
        }
    }
}

/// Everything of ours on the engine, as far as it serves no session.
struct Engine<'a> {
    handles: &'a Handles,
    ours: Ours<'a>,
    containers: Vec<ContainerSummary>,
    now: i64,
}

/// What nobody needs any more, containers before what they hold. What is in use is not among it.
pub(crate) async fn find(handles: &Handles, signer: &Signer, policy: &Policy) -> Result<Vec<Garbage>> {
    let options = ListContainersOptionsBuilder::default().all(true).build();
    let containers = handles
        .quick
        .list_containers(Some(options))
        .await
        .map_err(general)?;
    let engine = Engine {
        handles,
        ours: Ours(signer),
        containers,
        now: jiff::Timestamp::now().as_second(),
    };
    let mut found = engine.helpers(policy).await?;
    let gone: HashSet<String> = found.iter().map(|thing| thing.name.clone()).collect();
    found.extend(engine.volumes(policy, &gone).await?);
    found.extend(engine.images(policy, &gone).await?);
    Ok(found)
}

/// Removes one thing that was found. Answers whether it is gone: not when it is in use by now, or is not ours.
pub(crate) async fn remove(handles: &Handles, signer: &Signer, thing: &Garbage) -> Result<bool> {
    let ours = Ours(signer);
    match thing.kind {
        GarbageKind::Container => remove_helper(handles, ours, &thing.name).await,
        GarbageKind::Storage => remove_volume(handles, ours, &thing.name).await,
        GarbageKind::Image => remove_image(handles, ours, &thing.name).await,
        _ => Ok(false),
    }
}

/// Removes what nobody needs any more. What is in use stays.
pub(crate) async fn remove_stale(handles: &Handles, signer: &Signer) -> Result<Removed> {
    let policy = Policy {
        wanted: HashSet::new(),
        unused: Duration::MAX,
        grace: Duration::ZERO,
    };
    let mut removed = Removed::default();
    for thing in find(handles, signer, &policy).await? {
        let gone = usize::from(remove(handles, signer, &thing).await?);
        match thing.kind {
            GarbageKind::Container => removed.containers += gone,
            GarbageKind::Storage => removed.volumes += gone,
            _ => removed.images += gone,
        }
    }
    Ok(removed)
}

impl Engine<'_> {
    /// Helpers that nobody needs, by their names.
    async fn helpers(&self, policy: &Policy) -> Result<Vec<Garbage>> {
        let mut found = Vec::new();
        for helper in &self.containers {
            let Some(name) = self.ours.helper(helper) else {
                continue;
            };
            let created = helper.created.unwrap_or(self.now);
            let reason = match filled_from(helper).filter(|_| holds_a_toolbox(helper)) {
                Some(image) if has_a_name(self.handles, image).await? => continue,
                Some(_) if self.is_older(created, policy.grace) => {
                    "the image that filled its toolbox was replaced"
                }
                // Without a maker; one that is at work has an hour.
                None if self.is_older(created, ABANDONED) => {
                    "the preparation that it was made for was broken off"
                }
                _ => continue,
            };
            found.push(garbage(GarbageKind::Container, name, reason));
        }
        Ok(found)
    }

    /// Toolboxes that no container mounts but for those that go.
    async fn volumes(&self, policy: &Policy, gone: &HashSet<String>) -> Result<Vec<Garbage>> {
        let filters = HashMap::from([("label", vec![TOOLBOX])]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let volumes = self.handles.quick.list_volumes(Some(options)).await;
        let (kept, going): (Vec<_>, Vec<_>) = self
            .containers
            .iter()
            .partition(|container| name_of(container).is_none_or(|name| !gone.contains(name)));
        let mounts = |containers: &[&ContainerSummary], volume: &str| {
            let mut mounts = containers
                .iter()
                .flat_map(|container| container.mounts.iter().flatten());
            mounts.any(|mount| mount.name.as_deref() == Some(volume))
        };
        let mut found = Vec::new();
        for volume in volumes.map_err(general)?.volumes.unwrap_or_default() {
            if !self.ours.volume(&volume) || mounts(&kept, &volume.name) {
                continue;
            }
            let created = volume
                .created_at
                .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                .map_or(self.now, jiff::Timestamp::as_second);
            let held = mounts(&going, &volume.name);
            if held || self.is_older(created, policy.grace.max(ABANDONED)) {
                let reason = "no container holds this toolbox any more";
                found.push(garbage(GarbageKind::Storage, &volume.name, reason));
            }
        }
        Ok(found)
    }

    /// Derived images whose source has lost its name or is gone, and those that nobody used for long.
    async fn images(&self, policy: &Policy, gone: &HashSet<String>) -> Result<Vec<Garbage>> {
        let filters = HashMap::from([("label", vec![PREPARED])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = self.handles.quick.list_images(Some(options)).await;
        let used: HashSet<&str> = self
            .containers
            .iter()
            .filter(|container| name_of(container).is_none_or(|name| !gone.contains(name)))
            .filter_map(|container| container.image_id.as_deref())
            .collect();
        let mut found = Vec::new();
        for image in images.map_err(general)? {
            let Some(tag) = self.ours.image(&image.labels, &image.repo_tags) else {
                continue;
            };
            let Some(source) = image.labels.get(PREPARED).filter(|id| names::is_image_id(id)) else {
                continue;
            };
            if used.contains(image.id.as_str()) {
                continue;
            }
            let unused = self.is_older(image.created, policy.unused) && !policy.wanted.contains(local(tag));
            if unused {
                found.push(garbage(GarbageKind::Image, tag, "no session used it for long"));
            } else if self.is_older(image.created, policy.grace) && !has_a_name(self.handles, source).await? {
                found.push(garbage(
                    GarbageKind::Image,
                    tag,
                    "the image that it was derived from is gone",
                ));
            }
        }
        Ok(found)
    }

    fn is_older(&self, created: i64, than: Duration) -> bool {
        is_older(created, self.now, than)
    }
}

fn is_older(created: i64, now: i64, than: Duration) -> bool {
    than.is_zero() || u64::try_from(now.saturating_sub(created)).is_ok_and(|age| age > than.as_secs())
}

fn garbage(kind: GarbageKind, name: &str, reason: &str) -> Garbage {
    Garbage {
        kind,
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A helper of ours that does not run. It goes by its id: what takes its name meanwhile is another one.
async fn remove_helper(handles: &Handles, ours: Ours<'_>, name: &str) -> Result<bool> {
    let found = handles
        .quick
        .inspect_container(name, None::<InspectContainerOptions>)
        .await;
    let container = match found {
        Ok(container) => container,
        Err(error) if is_absent(&error) => return Ok(true),
        Err(error) => return Err(failed(OPERATION, About::Container(name), error)),
    };
    match &container.id {
        Some(id) if ours.inspected_helper(&container, name) => {
            remove_by_id(handles, id).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

async fn remove_volume(handles: &Handles, ours: Ours<'_>, name: &str) -> Result<bool> {
    match handles.quick.inspect_volume(name).await {
        Ok(volume) if volume.name == name && ours.volume(&volume) => {}
        Ok(_) => return Ok(false),
        Err(error) if is_absent(&error) => return Ok(true),
        Err(error) => return Err(failed(OPERATION, About::Volume(name), error)),
    }
    let outcome = handles
        .slow
        .remove_volume(name, None::<RemoveVolumeOptions>)
        .await;
    unless_in_use(outcome, About::Volume(name))
}

/// Takes its tag away, and the image with it unless somebody gave it another name.
async fn remove_image(handles: &Handles, ours: Ours<'_>, tag: &str) -> Result<bool> {
    let labels = match handles.quick.inspect_image(tag).await {
        Ok(image) => image.config.and_then(|config| config.labels).unwrap_or_default(),
        Err(error) if is_absent(&error) => return Ok(true),
        Err(error) => return Err(failed(OPERATION, About::Image(tag), error)),
    };
    if ours.image(&labels, &[tag.to_owned()]).is_none() {
        return Ok(false);
    }
    let outcome = handles
        .slow
        .remove_image(tag, None::<RemoveImageOptions>, None)
        .await;
    unless_in_use(outcome.map(drop), About::Image(tag))
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
        Err(error) if is_absent(&error) => Ok(true),
        Err(error) if status(&error) == Some(409) => Ok(false),
        Err(error) => Err(failed(OPERATION, about, error)),
    }
}

fn general(error: EngineError) -> Error {
    failed(OPERATION, About::Engine, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_is_abandoned() {
        assert!(!is_older(1_000_000, 1_000_000, ABANDONED));
        assert!(
            !is_older(1_000_060, 1_000_000, ABANDONED),
            "a clock that went back"
        );
        assert!(is_older(1_000_000, 1_010_000, ABANDONED));
        assert!(!is_older(0, 1_010_000, Duration::MAX));
        assert!(
            is_older(1_000_060, 1_000_000, Duration::ZERO),
            "no time to be waited for"
        );
    }
}
