//! [`ContainerRuntime::pause`](session_core::runtime::ContainerRuntime::pause) and `resume`.

use std::sync::Arc;
use std::time::Duration;

use session_core::error::ErrorKind;
use session_core::runtime::ContainerState;

use super::stage::Stage;
use crate::conformance::{Case, Outcome, cases, refused};

/// How long a frozen process is watched, and a thawed one may take.
const SOON: Duration = Duration::from_millis(300);

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["pause":
        freezes_every_process_until_it_is_resumed,
        pausing_a_paused_container_succeeds,
        resuming_a_running_container_succeeds,
        both_fail_with_container_lost_without_a_container,
    ]
}

/// The kind with which both calls are refused without the capability; `None` with it.
async fn unsupported(stage: &Stage) -> Result<bool, libtest_mimic::Failed> {
    if stage.capability().pause {
        return Ok(false);
    }
    let spec = stage.launch().await?;
    refused(stage.runtime.pause(&spec.name).await, ErrorKind::Unsupported)?;
    refused(stage.runtime.resume(&spec.name).await, ErrorKind::Unsupported)?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Running,
        "the container"
    );
    Ok(true)
}

async fn freezes_every_process_until_it_is_resumed(stage: Arc<Stage>) -> Outcome {
    if unsupported(&stage).await? {
        return Ok(());
    }
    let spec = stage.launch().await?;
    let link = stage.link(&spec.name).await?;
    stage.runtime.pause(&spec.name).await?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Paused,
        "the state"
    );
    let ping = link.ping();
    tokio::pin!(ping);
    ensure!(
        tokio::time::timeout(SOON, &mut ping).await.is_err(),
        "a frozen init answers"
    );
    stage.runtime.resume(&spec.name).await?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Running,
        "the state"
    );
    tokio::time::timeout(Duration::from_secs(5), ping)
        .await
        .map_err(|_late| "a thawed init does not answer")??;
    Ok(())
}

async fn pausing_a_paused_container_succeeds(stage: Arc<Stage>) -> Outcome {
    if unsupported(&stage).await? {
        return Ok(());
    }
    let spec = stage.launch().await?;
    stage.runtime.pause(&spec.name).await?;
    stage.runtime.pause(&spec.name).await?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Paused,
        "the state"
    );
    Ok(())
}

async fn resuming_a_running_container_succeeds(stage: Arc<Stage>) -> Outcome {
    if unsupported(&stage).await? {
        return Ok(());
    }
    let spec = stage.launch().await?;
    stage.runtime.resume(&spec.name).await?;
    ensure_eq!(
        stage.state(&spec.name).await?,
        ContainerState::Running,
        "the state"
    );
    Ok(())
}

async fn both_fail_with_container_lost_without_a_container(stage: Arc<Stage>) -> Outcome {
    if unsupported(&stage).await? {
        return Ok(());
    }
    let spec = stage.spec();
    refused(stage.runtime.pause(&spec.name).await, ErrorKind::ContainerLost)?;
    refused(stage.runtime.resume(&spec.name).await, ErrorKind::ContainerLost)?;
    Ok(())
}
