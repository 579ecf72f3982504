//! Events are numbered without gaps, and a reader goes on from any number.

use std::sync::Arc;

use futures::StreamExt;
use libtest_mimic::Failed;
use session_core::error::ErrorKind;
use session_core::event::Event;
use session_core::id::SessionId;
use session_core::session::EventQuery;

use super::Act;
use super::stage::{Stage, prompt};
use crate::conformance::{Case, Outcome, cases, refused};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["events":
        numbers_start_at_one_and_have_no_gaps,
        a_reader_goes_on_from_any_number_without_gap_or_duplicate,
        a_reader_sees_events_as_they_happen,
        the_stream_ends_after_the_end_of_the_session,
        pages_are_bounded_and_can_be_read_from_the_end,
    ]
}

/// Everything up to the last event that is stored now.
async fn follow(stage: &Stage, id: &SessionId, after: u64, last: u64) -> Result<Vec<Event>, Failed> {
    let mut events = stage.api.events(id, after).await?;
    let mut seen: Vec<Event> = Vec::new();
    while seen.last().map_or(after, |event| event.seq) < last {
        seen.push(events.next().await.ok_or("the stream ended")??);
    }
    Ok(seen)
}

async fn numbers_start_at_one_and_have_no_gaps(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.prompt(&id, Act::Say("Hello.".to_owned())).await?;
    stage.run(&id, &["true"]).await?;
    let events = stage.stored(&id).await?;
    for (event, expected) in events.iter().zip(1..) {
        ensure_eq!(event.seq, expected, "the number");
        ensure_eq!(event.session, id, "the session");
    }
    ensure!(events.is_sorted_by_key(|event| event.at), "times go backwards");
    Ok(())
}

async fn a_reader_goes_on_from_any_number_without_gap_or_duplicate(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.prompt(&id, Act::Say("Hello.".to_owned())).await?;
    let stored = stage.stored(&id).await?;
    let last = stored.last().ok_or("there are no events")?.seq;
    for after in 0..last {
        let seen = follow(&stage, &id, after, last).await?;
        ensure!(
            seen == stored[usize::try_from(after)?..],
            "from {after} on it is another story"
        );
    }
    Ok(())
}

async fn a_reader_sees_events_as_they_happen(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let after = stage.stored(&id).await?.last().map_or(0, |event| event.seq);
    let mut events = stage.api.events(&id, after).await?;
    stage.site.script(Act::Say("Live.".to_owned()));
    let turn = stage.api.prompt(&id, prompt("Say it.")).await?;
    let mut live = Vec::new();
    loop {
        let event = events.next().await.ok_or("the stream ended")??;
        let done = event.turn == Some(turn.id)
            && matches!(event.kind, session_core::event::EventKind::TurnFinished { .. });
        live.push(event);
        if done {
            break;
        }
    }
    let stored = stage.stored(&id).await?;
    let from = usize::try_from(after)?;
    ensure!(
        live[..] == stored[from..from + live.len()],
        "what was seen live is not what is stored"
    );
    Ok(())
}

async fn the_stream_ends_after_the_end_of_the_session(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let live = stage.api.events(&id, 0).await?;
    stage.api.destroy(&id).await?;
    let seen: Vec<Event> = live
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    ensure!(
        seen == stage.stored(&id).await?,
        "what was seen is not what is stored"
    );
    let again: Vec<_> = stage.api.events(&id, 0).await?.collect().await;
    ensure_eq!(again.len(), seen.len(), "the events of a session that has ended");
    Ok(())
}

async fn pages_are_bounded_and_can_be_read_from_the_end(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.prompt(&id, Act::Say("Hello.".to_owned())).await?;
    let stored = stage.stored(&id).await?;
    let page = stage
        .api
        .event_page(
            &id,
            EventQuery {
                after: 1,
                limit: 2,
                tail: false,
            },
        )
        .await?;
    ensure!(page == stored[1..3], "the page is another one: {page:?}");
    let tail = stage
        .api
        .event_page(
            &id,
            EventQuery {
                after: 0,
                limit: 2,
                tail: true,
            },
        )
        .await?;
    ensure!(
        tail == stored[stored.len() - 2..],
        "the tail is another one: {tail:?}"
    );
    refused(
        stage
            .api
            .event_page(&SessionId::new(), EventQuery::default())
            .await,
        ErrorKind::NotFound,
    )?;
    Ok(())
}
