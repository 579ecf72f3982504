//! [`ContainerRuntime::inspect`](session_core::runtime::ContainerRuntime::inspect).

use std::sync::Arc;

use session_core::runtime::{ContainerState, ContainerStatus};

use super::stage::Stage;
use crate::conformance::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["inspect": says_absent_without_a_container, tells_running_paused_and_exited_apart]
}

pub(super) fn back_door_cases() -> Vec<Case<Stage>> {
    cases!["inspect": says_when_it_ended_for_lack_of_memory]
}

async fn says_absent_without_a_container(stage: Arc<Stage>) -> Outcome {
    let status = stage.runtime.inspect(&stage.spec().name).await?;
    ensure_eq!(status, ContainerStatus::ABSENT, "the status");
    Ok(())
}

async fn tells_running_paused_and_exited_apart(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let status = stage.runtime.inspect(&spec.name).await?;
    ensure_eq!(status.state, ContainerState::Running, "the state");
    ensure_eq!(status.exit_code, None, "the exit code of what runs");
    if stage.capability().pause {
        stage.runtime.pause(&spec.name).await?;
        ensure_eq!(
            stage.state(&spec.name).await?,
            ContainerState::Paused,
            "the state"
        );
        stage.runtime.resume(&spec.name).await?;
        ensure_eq!(
            stage.state(&spec.name).await?,
            ContainerState::Running,
            "the state"
        );
    }
    stage.end_init(&spec.name).await?;
    let status = stage.runtime.inspect(&spec.name).await?;
    ensure_eq!(status.state, ContainerState::Exited, "the state");
    ensure!(status.exit_code.is_some(), "an ended container has an exit code");
    ensure!(!status.out_of_memory, "it did not end for lack of memory");
    Ok(())
}

async fn says_when_it_ended_for_lack_of_memory(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    stage.back_door()?.end_for_memory(&spec.name).await?;
    let status = stage.runtime.inspect(&spec.name).await?;
    ensure_eq!(status.state, ContainerState::Exited, "the state");
    ensure!(status.out_of_memory, "it is not said why it ended: {status:?}");
    Ok(())
}
