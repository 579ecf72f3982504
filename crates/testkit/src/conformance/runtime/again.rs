//! What brings a container back: `start`, `discard`, `rename`, a launch over storage that was kept, and `started_at`.

use std::sync::Arc;

use session_core::error::ErrorKind;
use session_core::runtime::{ContainerSpec, ContainerState, Storage};

use super::stage::{Stage, run};
use crate::conformance::{Case, Outcome, cases, refused};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["again":
        a_container_that_ended_starts_again_with_its_storage,
        starting_a_running_container_changes_nothing,
        a_container_that_is_not_there_is_not_started,
        discarding_leaves_the_storage_for_another_of_its_name,
        a_launch_over_kept_storage_makes_what_is_missing,
        a_launch_over_kept_storage_that_fails_leaves_it,
        a_workspace_is_there_from_its_launch_until_it_is_removed,
        renaming_what_bears_its_name_succeeds,
        the_engine_says_the_same_start_twice_or_never,
    ]
}

pub(super) fn back_door_cases() -> Vec<Case<Stage>> {
    cases!["again":
        a_renamed_container_is_listed_so_and_gets_its_name_back,
        a_name_that_another_container_bears_is_not_taken,
    ]
}

const MARKS: [&str; 2] = ["/workspace/mark", "/home/agent/mark"];

async fn leave_marks(stage: &Stage, spec: &ContainerSpec) -> Outcome {
    let link = stage.link(&spec.name).await?;
    for path in MARKS {
        ensure!(
            run(&link, &["touch", path]).await?.exit.success(),
            "{path} cannot be written"
        );
    }
    Ok(())
}

async fn finds_marks(stage: &Stage, spec: &ContainerSpec) -> Outcome {
    let link = stage.link(&spec.name).await?;
    for path in MARKS {
        ensure!(run(&link, &["cat", path]).await?.exit.success(), "{path} is gone");
    }
    Ok(())
}

async fn a_container_that_ended_starts_again_with_its_storage(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    leave_marks(&stage, &spec).await?;
    let before = stage.runtime.inspect(&spec.name).await?;
    stage.end_init(&spec.name).await?;
    let ended = stage.runtime.inspect(&spec.name).await?;
    ensure!(
        ended.ended_at >= before.started_at,
        "it ended before it began: {ended:?}"
    );
    stage.runtime.start(&spec.name).await?;
    let again = stage.runtime.inspect(&spec.name).await?;
    ensure_eq!(again.state, ContainerState::Running, "the state");
    ensure!(
        again.id.is_some() && again.id == before.id,
        "its id is another one"
    );
    ensure!(
        again.started_at > before.started_at,
        "it is not said to be started again"
    );
    finds_marks(&stage, &spec).await
}

async fn starting_a_running_container_changes_nothing(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let before = stage.runtime.inspect(&spec.name).await?;
    stage.runtime.start(&spec.name).await?;
    ensure_eq!(
        stage.runtime.inspect(&spec.name).await?,
        before,
        "what is said of it"
    );
    Ok(())
}

async fn a_container_that_is_not_there_is_not_started(stage: Arc<Stage>) -> Outcome {
    refused(
        stage.runtime.start(&stage.spec().name).await,
        ErrorKind::ContainerLost,
    )?;
    Ok(())
}

async fn discarding_leaves_the_storage_for_another_of_its_name(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    leave_marks(&stage, &spec).await?;
    let first = stage.runtime.inspect(&spec.name).await?.id;
    stage.runtime.discard(&spec.name).await?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Absent,
        "the state"
    );
    stage.runtime.discard(&spec.name).await?;
    let again = ContainerSpec {
        storage: Storage::Kept,
        ..spec
    };
    stage.launch_spec(&again).await?;
    let second = stage.runtime.inspect(&again.name).await?.id;
    ensure!(
        second.is_some() && second != first,
        "two containers with one id: {second:?}"
    );
    finds_marks(&stage, &again).await
}

async fn a_launch_over_kept_storage_makes_what_is_missing(stage: Arc<Stage>) -> Outcome {
    let spec = ContainerSpec {
        storage: Storage::Kept,
        ..stage.spec()
    };
    stage.launch_spec(&spec).await?;
    leave_marks(&stage, &spec).await
}

async fn a_launch_over_kept_storage_that_fails_leaves_it(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    leave_marks(&stage, &spec).await?;
    stage.runtime.discard(&spec.name).await?;
    let kept = ContainerSpec {
        storage: Storage::Kept,
        ..spec
    };
    let nowhere = session_core::runtime::HostMount {
        source: "/nonexistent/cofferdam-conformance".into(),
        target: "/mnt/nowhere".to_owned(),
        read_only: true,
    };
    let broken = ContainerSpec {
        mounts: vec![nowhere],
        ..kept.clone()
    };
    ensure!(
        stage.launch_spec(&broken).await.is_err(),
        "what is not there was mounted"
    );
    ensure_eq!(
        stage.state(&kept.name).await?,
        ContainerState::Absent,
        "the state"
    );
    stage.launch_spec(&kept).await?;
    finds_marks(&stage, &kept).await
}

async fn a_workspace_is_there_from_its_launch_until_it_is_removed(stage: Arc<Stage>) -> Outcome {
    let spec = stage.spec();
    ensure!(
        !stage.runtime.has_workspace(&spec.name).await?,
        "there is one before the launch"
    );
    stage.launch_spec(&spec).await?;
    ensure!(
        stage.runtime.has_workspace(&spec.name).await?,
        "there is none in use"
    );
    stage.runtime.discard(&spec.name).await?;
    ensure!(
        stage.runtime.has_workspace(&spec.name).await?,
        "there is none left"
    );
    stage.runtime.remove(&spec.name).await?;
    ensure!(
        !stage.runtime.has_workspace(&spec.name).await?,
        "there is one after its removal"
    );
    Ok(())
}

async fn renaming_what_bears_its_name_succeeds(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let id = stage
        .runtime
        .inspect(&spec.name)
        .await?
        .id
        .ok_or("it has no id")?;
    stage.runtime.rename(&id, &spec.name).await?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Running,
        "the state"
    );
    stage.runtime.remove(&spec.name).await?;
    refused(
        stage.runtime.rename(&id, &spec.name).await,
        ErrorKind::ContainerLost,
    )?;
    Ok(())
}

async fn the_engine_says_the_same_start_twice_or_never(stage: Arc<Stage>) -> Outcome {
    let first = stage.runtime.started_at().await?;
    let spec = stage.launch().await?;
    ensure_eq!(
        stage.runtime.started_at().await?,
        first,
        "since when the engine runs"
    );
    let began = stage.runtime.inspect(&spec.name).await?.started_at;
    ensure!(
        first.is_none() || began >= first,
        "a container ran before its engine: {began:?}, {first:?}"
    );
    Ok(())
}

async fn a_renamed_container_is_listed_so_and_gets_its_name_back(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let id = stage
        .runtime
        .inspect(&spec.name)
        .await?
        .id
        .ok_or("it has no id")?;
    let alias = format!("renamed-{}", spec.session);
    stage.back_door()?.rename(&spec.name, &alias).await?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Absent,
        "the state under its name"
    );
    let listed = stage.runtime.list(stage.signer.owner()).await?;
    let found = listed.iter().find(|resource| resource.name == spec.name);
    let found = found.ok_or("it is not listed")?;
    ensure!(
        found.renamed && found.id.as_ref() == Some(&id),
        "listed as {found:?}"
    );
    stage.runtime.rename(&id, &spec.name).await?;
    let status = stage.runtime.inspect(&spec.name).await?;
    ensure_eq!(status.state, ContainerState::Running, "the state");
    ensure_eq!(status.id, Some(id), "the id");
    Ok(())
}

async fn a_name_that_another_container_bears_is_not_taken(stage: Arc<Stage>) -> Outcome {
    let (one, other) = (stage.launch().await?, stage.launch().await?);
    let id = stage.runtime.inspect(&one.name).await?.id.ok_or("it has no id")?;
    let alias = format!("renamed-{}", one.session);
    stage.back_door()?.rename(&one.name, &alias).await?;
    refused(
        stage.runtime.rename(&id, &other.name).await,
        ErrorKind::StateConflict,
    )?;
    stage.runtime.rename(&id, &one.name).await?;
    ensure_eq!(
        stage.state(&other.name).await?,
        ContainerState::Running,
        "the other one"
    );
    Ok(())
}
