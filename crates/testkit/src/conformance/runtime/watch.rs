//! [`ContainerRuntime::watch`](session_core::runtime::ContainerRuntime::watch).

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use libtest_mimic::Failed;
use session_core::error::Result as CoreResult;
use session_core::id::ContainerName;
use session_core::runtime::{ContainerEvent, ContainerEventKind};

use super::stage::{Stage, spawn_spec};
use crate::conformance::{Case, Outcome, cases};

/// Within a second, with a little patience for the machine.
const SOON: Duration = Duration::from_millis(1500);

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["watch":
        reports_an_exit_and_a_removal_within_a_second,
        reports_a_pause_and_a_resume_within_a_second,
        reports_an_out_of_memory_kill_within_a_second,
        reports_nothing_of_another_owner,
    ]
}

pub(super) fn back_door_cases() -> Vec<Case<Stage>> {
    cases!["watch":
        ends_with_an_error_when_the_engine_goes_away,
        reports_a_new_name_and_what_happens_under_it_within_a_second,
    ]
}

type Facts = BoxStream<'static, CoreResult<ContainerEvent>>;

/// Waits for a fact of one kind about a container.
async fn expect(
    facts: &mut Facts,
    name: &ContainerName,
    what: &str,
    wanted: impl Fn(ContainerEventKind) -> bool,
) -> Outcome {
    let found = async {
        while let Some(fact) = facts.next().await {
            let fact = fact?;
            if fact.name == *name && wanted(fact.kind) {
                return Ok::<bool, Failed>(true);
            }
        }
        Ok(false)
    };
    match tokio::time::timeout(SOON, found).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(format!("the stream ended before {what} was reported").into()),
        Ok(Err(error)) => Err(error),
        Err(_late) => Err(format!("{what} was not reported in time").into()),
    }
}

async fn reports_an_exit_and_a_removal_within_a_second(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let mut facts = stage.runtime.watch(stage.signer.owner()).await?;
    stage.end_init(&spec.name).await?;
    expect(&mut facts, &spec.name, "the exit", |kind| {
        matches!(kind, ContainerEventKind::Exited { .. })
    })
    .await?;
    stage.runtime.remove(&spec.name).await?;
    expect(&mut facts, &spec.name, "the removal", |kind| {
        kind == ContainerEventKind::Removed
    })
    .await
}

async fn reports_a_pause_and_a_resume_within_a_second(stage: Arc<Stage>) -> Outcome {
    if !stage.capability().pause {
        return Ok(());
    }
    let spec = stage.launch().await?;
    let mut facts = stage.runtime.watch(stage.signer.owner()).await?;
    stage.runtime.pause(&spec.name).await?;
    expect(&mut facts, &spec.name, "the pause", |kind| {
        kind == ContainerEventKind::Paused
    })
    .await?;
    stage.runtime.resume(&spec.name).await?;
    expect(&mut facts, &spec.name, "the resume", |kind| {
        kind == ContainerEventKind::Resumed
    })
    .await
}

async fn reports_a_new_name_and_what_happens_under_it_within_a_second(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let id = stage
        .runtime
        .inspect(&spec.name)
        .await?
        .id
        .ok_or("it has no id")?;
    let link = stage.link(&spec.name).await?;
    let mut facts = stage.runtime.watch(stage.signer.owner()).await?;
    let alias = format!("renamed-{}", spec.session);
    stage.back_door()?.rename(&spec.name, &alias).await?;
    expect(&mut facts, &spec.name, "the new name", |kind| {
        kind == ContainerEventKind::Renamed
    })
    .await?;
    // It may end before it can answer.
    let _ = link.run(spawn_spec(&["sh", "-c", "kill -TERM 1"])).await;
    expect(&mut facts, &spec.name, "the exit", |kind| {
        matches!(kind, ContainerEventKind::Exited { .. })
    })
    .await?;
    Ok(stage.runtime.rename(&id, &spec.name).await?)
}

async fn reports_an_out_of_memory_kill_within_a_second(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let link = stage.link(&spec.name).await?;
    let mut facts = stage.runtime.watch(stage.signer.owner()).await?;
    // All of it in one line that never ends.
    let mut hog = link.run(spawn_spec(&["tail", "/dev/zero"])).await?;
    while let Some(event) = hog.next().await? {
        if let session_link::ProcessEvent::Exited(exit) = event {
            ensure_eq!(
                exit.cause,
                session_link::ExitCause::OutOfMemory,
                "why the hog ended"
            );
        }
    }
    expect(&mut facts, &spec.name, "the kill", |kind| {
        kind == ContainerEventKind::OutOfMemory
    })
    .await?;
    ensure!(link.ping().await.is_ok(), "init went with the hog");
    Ok(())
}

async fn reports_nothing_of_another_owner(stage: Arc<Stage>) -> Outcome {
    let stranger = session_core::label::Signer::new([0x3c; 32]);
    let mut facts = stage.runtime.watch(stranger.owner()).await?;
    let mut ours = stage.runtime.watch(stage.signer.owner()).await?;
    let spec = stage.launch().await?;
    stage.runtime.remove(&spec.name).await?;
    expect(&mut ours, &spec.name, "the removal", |kind| {
        kind == ContainerEventKind::Removed
    })
    .await?;
    // By now the other stream would have it too.
    let heard = tokio::time::timeout(Duration::from_millis(100), facts.next()).await;
    ensure!(heard.is_err(), "somebody else heard {heard:?}");
    Ok(())
}

async fn ends_with_an_error_when_the_engine_goes_away(stage: Arc<Stage>) -> Outcome {
    let (runtime, go_away) = stage.back_door()?.doomed().await?;
    let mut facts = runtime.watch(stage.signer.owner()).await?;
    go_away();
    let end = async {
        let mut failed = false;
        while let Some(fact) = facts.next().await {
            failed |= fact.is_err();
        }
        failed
    };
    let failed = tokio::time::timeout(Duration::from_secs(5), end)
        .await
        .map_err(|_late| "the stream goes on")?;
    ensure!(failed, "the stream ended without an error");
    Ok(())
}
