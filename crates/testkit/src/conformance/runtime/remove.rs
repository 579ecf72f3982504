//! [`ContainerRuntime::remove`](session_core::runtime::ContainerRuntime::remove).

use std::sync::Arc;

use session_core::runtime::ContainerState;

use super::stage::Stage;
use crate::conformance::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["remove":
        removing_what_is_gone_succeeds,
        container_and_storage_are_gone_when_it_returns,
        removes_whatever_the_state,
        touches_no_other_container,
    ]
}

pub(super) fn back_door_cases() -> Vec<Case<Stage>> {
    cases!["remove": touches_nothing_that_bears_the_name_without_our_label]
}

async fn removing_what_is_gone_succeeds(stage: Arc<Stage>) -> Outcome {
    stage.runtime.remove(&stage.spec().name).await?;
    let spec = stage.launch().await?;
    stage.runtime.remove(&spec.name).await?;
    stage.runtime.remove(&spec.name).await?;
    Ok(())
}

async fn container_and_storage_are_gone_when_it_returns(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    stage.runtime.remove(&spec.name).await?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Absent,
        "the state"
    );
    let left = stage.runtime.list(stage.signer.owner()).await?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

async fn removes_whatever_the_state(stage: Arc<Stage>) -> Outcome {
    let paused = stage.launch().await?;
    if stage.capability().pause {
        stage.runtime.pause(&paused.name).await?;
    }
    let ended = stage.launch().await?;
    stage.end_init(&ended.name).await?;
    for spec in [paused, ended] {
        stage.runtime.remove(&spec.name).await?;
        ensure_eq!(
            stage.state(&spec.name).await?,
            ContainerState::Absent,
            "the state"
        );
    }
    Ok(())
}

async fn touches_no_other_container(stage: Arc<Stage>) -> Outcome {
    let (one, other) = (stage.launch().await?, stage.launch().await?);
    stage.runtime.remove(&one.name).await?;
    ensure_eq!(
        stage.state(&other.name).await?,
        ContainerState::Running,
        "the other container"
    );
    ensure!(
        stage.link(&other.name).await?.ping().await.is_ok(),
        "the other container does not answer"
    );
    Ok(())
}

async fn touches_nothing_that_bears_the_name_without_our_label(stage: Arc<Stage>) -> Outcome {
    let (door, name) = (stage.back_door()?, stage.spec().name);
    door.plant(&name).await?;
    // Whether that is an error is the runtime's to say; that it stands is not.
    let _ = stage.runtime.remove(&name).await;
    let stands = door.stands(&name).await;
    door.uproot(&name).await?;
    ensure!(stands?, "somebody else's container was removed");
    Ok(())
}
