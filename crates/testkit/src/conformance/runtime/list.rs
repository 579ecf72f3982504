//! [`ContainerRuntime::list`](session_core::runtime::ContainerRuntime::list).

use std::sync::Arc;

use session_core::label::Signer;
use session_core::runtime::{ContainerSpec, ContainerState};

use super::stage::Stage;
use crate::conformance::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["list":
        lists_each_container_once_with_its_labels_whatever_its_state,
        never_lists_what_another_owner_made,
    ]
}

pub(super) fn back_door_cases() -> Vec<Case<Stage>> {
    cases!["list": lists_storage_that_outlived_its_container]
}

async fn lists_each_container_once_with_its_labels_whatever_its_state(stage: Arc<Stage>) -> Outcome {
    let running = stage.launch().await?;
    let paused = stage.launch().await?;
    let ended = stage.launch().await?;
    let mut expected = vec![(running.name.clone(), ContainerState::Running)];
    if stage.capability().pause {
        stage.runtime.pause(&paused.name).await?;
        expected.push((paused.name.clone(), ContainerState::Paused));
    } else {
        expected.push((paused.name.clone(), ContainerState::Running));
    }
    stage.end_init(&ended.name).await?;
    expected.push((ended.name.clone(), ContainerState::Exited));
    let listed = stage.runtime.list(stage.signer.owner()).await?;
    let mut seen: Vec<_> = listed
        .iter()
        .map(|resource| (resource.name.clone(), resource.state))
        .collect();
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    ensure_eq!(seen, expected, "what is listed");
    for (spec, resource) in [&running, &paused, &ended]
        .into_iter()
        .filter_map(|spec| Some((spec, listed.iter().find(|r| r.name == spec.name)?)))
    {
        for (key, value) in &spec.labels {
            ensure_eq!(resource.labels.get(key), Some(value), "the label");
        }
        ensure_eq!(
            stage.signer.verify(&resource.labels),
            Some(spec.session),
            "the session of the labels"
        );
    }
    Ok(())
}

async fn never_lists_what_another_owner_made(stage: Arc<Stage>) -> Outcome {
    let ours = stage.launch().await?;
    let stranger = Signer::new([0x5a; 32]);
    let theirs = stage.spec();
    let theirs = ContainerSpec {
        labels: stranger.labels(&theirs.session),
        ..theirs
    };
    stage.launch_spec(&theirs).await?;
    let listed = stage.runtime.list(stage.signer.owner()).await;
    let of_stranger = stage.runtime.list(stranger.owner()).await;
    stage.runtime.remove(&theirs.name).await?;
    let names: Vec<_> = listed?.into_iter().map(|resource| resource.name).collect();
    ensure_eq!(names, vec![ours.name], "what is listed");
    ensure!(
        of_stranger?.iter().any(|resource| resource.name == theirs.name),
        "its owner does not see it"
    );
    Ok(())
}

async fn lists_storage_that_outlived_its_container(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    stage.back_door()?.remove_without_storage(&spec.name).await?;
    let listed = stage.runtime.list(stage.signer.owner()).await?;
    ensure!(!listed.is_empty(), "the storage is not listed");
    for resource in &listed {
        ensure_eq!(
            resource.name,
            spec.name,
            "the container that the storage belonged to"
        );
        ensure_eq!(
            resource.state,
            ContainerState::Absent,
            "the state of storage alone"
        );
        ensure_eq!(
            stage.signer.verify(&resource.labels),
            Some(spec.session),
            "the session of the labels"
        );
    }
    stage.runtime.remove(&spec.name).await?;
    let left = stage.runtime.list(stage.signer.owner()).await?;
    ensure!(left.is_empty(), "the storage is still there: {left:?}");
    Ok(())
}
