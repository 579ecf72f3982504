//! What is true of containers now, and changing between running and frozen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as EngineError;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptionsBuilder, ListVolumesOptionsBuilder, LogsOptionsBuilder,
};
use futures::StreamExt;
use jiff::Timestamp;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ContainerName;
use session_core::label::{self, OwnerId};
use session_core::runtime::{ContainerState, ContainerStatus, OwnedResource};

use crate::client::Handles;
use crate::error::{About, could_not_freeze, failed, is_absent, status};
use crate::names;

/// How Podman calls one that has ended and is not yet cleaned up after.
const IN_BETWEEN: &str = "unknown variant `stopped`";
/// How often one that is in between is looked at again, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS: u32 = 250;
/// Before processes that could not be frozen are frozen again.
const FREEZE_RESTS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(1000),
];

/// What the engine says of a container. For a moment Podman calls one that has ended by a state that Docker's API does not
/// have; it is looked at again until it has settled.
pub(crate) async fn look(engine: &Handles, name: &str) -> Result<ContainerInspectResponse, EngineError> {
    let mut looks = 0;
    loop {
        let found = engine
            .quick
            .inspect_container(name, None::<InspectContainerOptions>)
            .await;
        match found {
            Err(EngineError::JsonDataError { message, .. })
                if message.contains(IN_BETWEEN) && looks < LOOKS =>
            {
                looks += 1;
                tokio::time::sleep(LOOK_EVERY).await;
            }
            found => return found,
        }
    }
}

/// One container.
pub(crate) async fn inspect(engine: &Handles, name: &ContainerName) -> Result<ContainerStatus> {
    let container = match look(engine, name.as_str()).await {
        Ok(container) => container,
        Err(error) if is_absent(&error) => return Ok(ContainerStatus::ABSENT),
        Err(error) => {
            return Err(failed(
                "inspect the container",
                About::Container(name.as_str()),
                error,
            ));
        }
    };
    let told = container.state.unwrap_or_default();
    let state = state(told.status);
    let exited = state == ContainerState::Exited;
    let ended_at = told.finished_at.as_deref().and_then(|at| at.parse().ok());
    Ok(ContainerStatus {
        id: container.id.as_deref().and_then(|id| id.parse().ok()),
        started_at: told.started_at.as_deref().and_then(|at| at.parse().ok()),
        ended_at: ended_at.filter(|_| exited),
        state,
        exit_code: told.exit_code.filter(|_| exited),
        out_of_memory: exited && told.oom_killed == Some(true),
    })
}

fn state(status: Option<ContainerStateStatusEnum>) -> ContainerState {
    use ContainerStateStatusEnum as S;
    match status.unwrap_or(S::EMPTY) {
        S::CREATED | S::EMPTY => ContainerState::Created,
        S::RUNNING | S::RESTARTING | S::STOPPING => ContainerState::Running,
        S::PAUSED => ContainerState::Paused,
        S::EXITED | S::REMOVING | S::DEAD => ContainerState::Exited,
    }
}

fn listed_state(status: Option<ContainerSummaryStateEnum>) -> ContainerState {
    use ContainerSummaryStateEnum as S;
    match status.unwrap_or(S::EMPTY) {
        S::CREATED | S::EMPTY => ContainerState::Created,
        S::RUNNING | S::RESTARTING | S::STOPPING => ContainerState::Running,
        S::PAUSED => ContainerState::Paused,
        S::EXITED | S::REMOVING | S::DEAD => ContainerState::Exited,
    }
}

/// Containers and storage with the label of `owner`, each container once.
pub(crate) async fn list(engine: &Handles, owner: &OwnerId) -> Result<Vec<OwnedResource>> {
    const OPERATION: &str = "list containers";
    let filters = HashMap::from([("label", vec![format!("{}={owner}", label::OWNER)])]);
    let containers = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let (containers, volumes) = futures::try_join!(
        engine.quick.list_containers(Some(containers)),
        engine.quick.list_volumes(Some(volumes)),
    )
    .map_err(|error| failed(OPERATION, About::Engine, error))?;

    let mut found: Vec<OwnedResource> = containers.into_iter().filter_map(listed_container).collect();
    let mut named: BTreeSet<ContainerName> = found.iter().map(|resource| resource.name.clone()).collect();
    for volume in volumes.volumes.unwrap_or_default() {
        if let Some(name) = names::container_of_volume(&volume.name)
            && named.insert(name.clone())
        {
            found.push(OwnedResource {
                name,
                id: None,
                renamed: false,
                labels: volume.labels.into_iter().collect(),
                state: ContainerState::Absent,
                created_at: volume.created_at.and_then(|at| at.parse().ok()),
            });
        }
    }
    Ok(found)
}

/// A container that somebody renamed is listed under the name that its label gives it: removing that finds it again.
fn listed_container(container: ContainerSummary) -> Option<OwnedResource> {
    let labels: BTreeMap<String, String> = container.labels.unwrap_or_default().into_iter().collect();
    let own_name = container
        .names
        .unwrap_or_default()
        .iter()
        .find_map(|name| names::container_named(name.trim_start_matches('/')));
    let labelled = || Some(ContainerName::of(&labels.get(label::SESSION)?.parse().ok()?));
    let renamed = own_name.is_none();
    let name = own_name.or_else(labelled)?;
    Some(OwnedResource {
        name,
        id: container.id.as_deref().and_then(|id| id.parse().ok()),
        renamed,
        labels,
        state: listed_state(container.state),
        created_at: container.created.and_then(|at| Timestamp::from_second(at).ok()),
    })
}

/// Freezes the container's processes. Those that are started while a busy machine freezes them make the engine give up, which
/// is tried again for a while.
pub(crate) async fn pause(engine: &Handles, name: &ContainerName) -> Result<()> {
    let mut outcome = engine.slow.pause_container(name.as_str()).await;
    for rest in FREEZE_RESTS {
        if !matches!(&outcome, Err(error) if could_not_freeze(error)) {
            break;
        }
        tokio::time::sleep(rest).await;
        outcome = engine.slow.pause_container(name.as_str()).await;
    }
    settled(
        engine,
        name,
        "pause the container",
        ContainerState::Paused,
        outcome,
    )
    .await
}

/// Lets them go on.
pub(crate) async fn resume(engine: &Handles, name: &ContainerName) -> Result<()> {
    let outcome = engine.slow.unpause_container(name.as_str()).await;
    settled(
        engine,
        name,
        "resume the container",
        ContainerState::Running,
        outcome,
    )
    .await
}

/// Engines refuse what is so already, in words of their own: the container's state tells what the refusal meant.
async fn settled(
    engine: &Handles,
    name: &ContainerName,
    operation: &'static str,
    wanted: ContainerState,
    outcome: Result<(), bollard::errors::Error>,
) -> Result<()> {
    let Err(error) = outcome else { return Ok(()) };
    let refused = matches!(status(&error), Some(409 | 500));
    let error = failed(operation, About::Container(name.as_str()), error);
    if !refused {
        return Err(error);
    }
    match inspect(engine, name).await?.state {
        state if state == wanted => Ok(()),
        ContainerState::Running | ContainerState::Paused => Err(error),
        ContainerState::Absent | ContainerState::Created | ContainerState::Exited => {
            Err(
                Error::new(ErrorKind::ContainerLost, operation, "the container does not run")
                    .with_context("container", name)
                    .with_source(error),
            )
        }
    }
}

/// The last `limit` bytes of what PID 1 wrote.
pub(crate) async fn diagnostics(engine: &Handles, name: &ContainerName, limit: usize) -> Result<String> {
    // Each line has a byte at least, so this many lines hold the last `limit` bytes.
    let tail = limit.to_string();
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .tail(&tail)
        .build();
    let mut output = std::pin::pin!(engine.quick.logs(name.as_str(), Some(options)));
    let mut text = Vec::new();
    while let Some(part) = output.next().await {
        match part {
            Ok(
                LogOutput::StdOut { message }
                | LogOutput::StdErr { message }
                | LogOutput::Console { message },
            ) => {
                keep_last(&mut text, &message, limit);
            }
            Ok(LogOutput::StdIn { .. }) => {}
            Err(error) if is_absent(&error) => return Ok(String::new()),
            Err(error) => {
                return Err(failed(
                    "read what PID 1 wrote",
                    About::Container(name.as_str()),
                    error,
                ));
            }
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn keep_last(text: &mut Vec<u8>, more: &[u8], limit: usize) {
    text.extend_from_slice(more.get(more.len().saturating_sub(limit)..).unwrap_or_default());
    let excess = text.len().saturating_sub(limit);
    text.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use session_core::id::SessionId;

    #[test]
    fn a_renamed_container_is_listed_under_its_own_name() {
        let session = SessionId::new();
        let labels = HashMap::from([(label::SESSION.to_owned(), session.to_string())]);
        let summary = |name: &str| ContainerSummary {
            names: Some(vec![name.to_owned()]),
            labels: Some(labels.clone()),
            state: Some(ContainerSummaryStateEnum::EXITED),
            ..ContainerSummary::default()
        };
        let expected = ContainerName::of(&session);
        for name in [format!("/{expected}"), "/somebody".to_owned()] {
            let listed = listed_container(summary(&name)).unwrap();
            assert_eq!(
                (listed.name, listed.renamed, listed.state),
                (expected.clone(), name == "/somebody", ContainerState::Exited)
            );
        }
        let nobody = ContainerSummary {
            labels: None,
            ..summary("/somebody")
        };
        assert_eq!(listed_container(nobody), None);
    }

    proptest! {
        #[test]
        fn the_last_bytes_are_kept(parts in proptest::collection::vec(".{0,20}", 0..20), limit in 0usize..50) {
            let mut text = Vec::new();
            for part in &parts {
                keep_last(&mut text, part.as_bytes(), limit);
            }
            let all = parts.concat().into_bytes();
            prop_assert_eq!(&text, &all[all.len().saturating_sub(limit)..]);
        }
    }
}
