//! What happens to an owner's containers, from the moment at which the watch is asked for.
//!
//! The library sends a request for events only when its stream is first polled, so a subscription has no moment of its
//! own. The engine's clock gives it one: it is read first, and the engine replays what happened since.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ContainerName;
use session_core::label::{self, OwnerId};
use session_core::runtime::{ContainerEvent, ContainerEventKind};

use crate::client::Handles;
use crate::error::{About, START_HINT, failed};
use crate::names;

const OPERATION: &str = "watch containers";
/// Podman's own words, by which it filters, are "died" for "die" and "remove" for "destroy".
const ACTIONS: [&str; 9] = [
    "start", "die", "died", "oom", "pause", "unpause", "rename", "destroy", "remove",
];

type EngineEvent = Result<EventMessage, bollard::errors::Error>;

/// Events from now on. The stream ends with an error, once.
pub(crate) async fn watch(
    engine: &Handles,
    owner: &OwnerId,
) -> Result<BoxStream<'static, Result<ContainerEvent>>> {
    let since = engine_time(engine).await?;
    fail::fail_point!("docker.watch.before", |_| session_core::fault::engine(OPERATION));
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("label", vec![format!("{}={owner}", label::OWNER)]),
        ("event", ACTIONS.map(str::to_owned).to_vec()),
    ]);
    let options = EventsOptionsBuilder::default()
        .since(&since)
        .filters(&filters)
        .build();
    Ok(facts(engine.slow.events(Some(options))).boxed())
}

/// The engine's clock, as its events call takes it: seconds and nanoseconds.
async fn engine_time(engine: &Handles) -> Result<String> {
    let info = engine
        .quick
        .info()
        .await
        .map_err(|error| failed(OPERATION, About::Engine, error))?;
    let told = info.system_time.unwrap_or_default();
    let time: jiff::Timestamp = told.parse().map_err(|source: jiff::Error| {
        Error::new(
            ErrorKind::EngineFailed,
            OPERATION,
            "the engine's clock could not be read",
        )
        .with_source(source)
    })?;
    Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
}

/// Facts until the first error, which is the last item; an end without an error is one, too.
fn facts(
    events: impl Stream<Item = EngineEvent> + Send + 'static,
) -> impl Stream<Item = Result<ContainerEvent>> + Send {
    let gone = stream::once(async { Err(ended()) });
    let told = events.map(|event| event.map_err(|error| ended().with_source(error)));
    told.chain(gone)
        .scan(false, |over, event| {
            if *over {
                return std::future::ready(None);
            }
            *over = event.is_err();
            std::future::ready(Some(event))
        })
        .filter_map(|event| std::future::ready(event.map(fact).transpose()))
}

fn ended() -> Error {
    Error::new(
        ErrorKind::EngineUnavailable,
        OPERATION,
        "the engine's events ended",
    )
    .with_hint(START_HINT)
}

/// `None` for what is not about a session's container. One that somebody renamed is known by its label; whether that is
/// true is seen when the container is looked at.
fn fact(event: EventMessage) -> Option<ContainerEvent> {
    let attributes = event.actor?.attributes?;
    let own_name = names::container_named(attributes.get("name")?);
    let labelled = || Some(ContainerName::of(&attributes.get(label::SESSION)?.parse().ok()?));
    let name = own_name.or_else(labelled)?;
    let kind = match event.action.as_deref()? {
        "start" => ContainerEventKind::Started,
        "die" | "died" => ContainerEventKind::Exited {
            code: attributes.get("exitCode").and_then(|code| code.parse().ok()),
        },
        "oom" => ContainerEventKind::OutOfMemory,
        "pause" => ContainerEventKind::Paused,
        "unpause" => ContainerEventKind::Resumed,
        "destroy" | "remove" => ContainerEventKind::Removed,
        "rename" => ContainerEventKind::Renamed,
        _ => return None,
    };
    Some(ContainerEvent { name, kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::EventActor;
    use session_core::id::SessionId;

    fn event(action: &str, name: &str, attributes: &[(&str, &str)]) -> EngineEvent {
        let mut attributes: HashMap<_, _> = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        attributes.insert("name".to_owned(), name.to_owned());
        Ok(EventMessage {
            action: Some(action.to_owned()),
            actor: Some(EventActor {
                id: None,
                attributes: Some(attributes),
            }),
            ..EventMessage::default()
        })
    }

    #[tokio::test]
    async fn events_become_facts_and_the_end_an_error() {
        let session = SessionId::new();
        let name = ContainerName::of(&session);
        let ours = name.as_str();
        let events = vec![
            event("start", ours, &[]),
            event("exec_start: x", ours, &[]),
            event("die", ours, &[("exitCode", "137")]),
            event("die", "somebody", &[]),
            event("rename", "somebody", &[(label::SESSION, &session.to_string())]),
            event("destroy", ours, &[]),
        ];
        let mut facts: Vec<_> = facts(stream::iter(events)).collect().await;
        let last = facts.pop().unwrap().unwrap_err();
        assert_eq!(last.kind(), ErrorKind::EngineUnavailable);
        let kinds: Vec<_> = facts.into_iter().map(|fact| fact.unwrap().kind).collect();
        assert_eq!(
            kinds,
            [
                ContainerEventKind::Started,
                ContainerEventKind::Exited { code: Some(137) },
                ContainerEventKind::Renamed,
                ContainerEventKind::Removed
            ]
        );
    }

    #[tokio::test]
    async fn an_error_is_the_last_item() {
        let broken = Err(bollard::errors::Error::RequestTimeoutError);
        let name = ContainerName::of(&SessionId::new());
        let events = vec![broken, event("start", name.as_str(), &[])];
        let facts: Vec<_> = facts(stream::iter(events)).collect().await;
        assert_eq!(facts.len(), 1);
        assert!(facts[0].is_err());
    }
}
