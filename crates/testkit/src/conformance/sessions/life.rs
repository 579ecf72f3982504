//! Sessions are made, seen, frozen and ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::{CreateSession, SessionFilter};
use session_core::state::{SessionState, StateName};

use super::Act;
use super::stage::{Stage, prompt};
use crate::conformance::{Case, Outcome, cases, refused, refused_with_hint};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["life":
        a_created_session_is_ready_and_says_what_it_is,
        sessions_are_listed_newest_first_and_found_by_label,
        a_session_is_looked_at_as_it_is_recorded,
        sessions_are_found_by_their_owner_and_keys_are_the_owners_own,
        inspect_tells_what_it_uses_and_how_it_is_reached,
        the_same_key_gives_the_same_session,
        a_paused_session_does_nothing_until_it_is_resumed,
        a_session_of_a_foreign_image_works,
        destroying_twice_succeeds_and_leaves_only_history,
        a_destroyed_session_refuses_everything_but_reading,
        a_session_that_works_can_be_destroyed,
    ]
}

async fn a_created_session_is_ready_and_says_what_it_is(stage: Arc<Stage>) -> Outcome {
    let labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    let request = CreateSession {
        name: Some("a name".to_owned()),
        labels: labels.clone(),
        ..stage.site.request()
    };
    let info = stage.create(request).await?;
    ensure_eq!(info.state, SessionState::Ready, "the state");
    ensure_eq!(info.name.as_deref(), Some("a name"), "the name");
    ensure_eq!(info.labels, labels, "the labels");
    ensure_eq!(info.turns, 0, "the turns");
    ensure!(
        info.user.uid != 0 && info.user.gid != 0,
        "it runs as root: {:?}",
        info.user
    );
    let events = stage.stored(&info.id).await?;
    let ready = EventKind::StateChanged {
        to: SessionState::Ready,
    };
    ensure!(
        events.iter().any(|event| event.kind == ready),
        "no event says that it is ready"
    );
    ensure_eq!(
        stage.state(&info.id).await?,
        StateName::Ready,
        "the state as inspected"
    );
    Ok(())
}

async fn sessions_are_listed_newest_first_and_found_by_label(stage: Arc<Stage>) -> Outcome {
    let label = |value: &str| BTreeMap::from([("color".to_owned(), value.to_owned())]);
    let red = stage
        .create(CreateSession {
            labels: label("red"),
            ..stage.site.request()
        })
        .await?;
    let blue = stage
        .create(CreateSession {
            labels: label("blue"),
            ..stage.site.request()
        })
        .await?;
    let ids = |infos: Vec<session_core::session::SessionInfo>| {
        infos.into_iter().map(|info| info.id).collect::<Vec<_>>()
    };
    ensure_eq!(
        ids(stage.api.list(SessionFilter::default()).await?),
        vec![blue.id, red.id],
        "the sessions"
    );
    let filter = SessionFilter {
        labels: label("red"),
        ..SessionFilter::default()
    };
    ensure_eq!(
        ids(stage.api.list(filter).await?),
        vec![red.id],
        "the red sessions"
    );
    stage.api.destroy(&red.id).await?;
    ensure_eq!(
        ids(stage.api.list(SessionFilter::default()).await?),
        vec![blue.id],
        "the living sessions"
    );
    let all = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    ensure_eq!(
        ids(stage.api.list(all).await?),
        vec![blue.id, red.id],
        "all sessions"
    );
    Ok(())
}

async fn a_session_is_looked_at_as_it_is_recorded(stage: Arc<Stage>) -> Outcome {
    let made = stage.session().await?;
    let other = stage.session().await?;
    let looked = stage.api.session(&made.id).await?;
    ensure_eq!(looked, made, "the session as it was made");
    stage.prompt(&made.id, Act::Say("Yes.".to_owned())).await?;
    let looked = stage.api.session(&made.id).await?;
    ensure_eq!(looked.turns, 1, "its turns");
    ensure!(
        looked.last_event > made.last_event,
        "nothing has happened to it: {looked:?}"
    );
    stage.api.destroy(&made.id).await?;
    let looked = stage.api.session(&made.id).await?;
    ensure_eq!(looked.state, SessionState::Destroyed, "the state after its end");
    ensure_eq!(
        stage.api.session(&other.id).await?.state,
        SessionState::Ready,
        "the other one's state"
    );
    refused(stage.api.session(&SessionId::new()).await, ErrorKind::NotFound)?;
    Ok(())
}

async fn sessions_are_found_by_their_owner_and_keys_are_the_owners_own(stage: Arc<Stage>) -> Outcome {
    let of = |owner: Option<&str>| CreateSession {
        owner: owner.map(str::to_owned),
        idempotency_key: Some("a-key-of-both".to_owned()),
        ..stage.site.request()
    };
    let ours = stage.create(of(Some("ci"))).await?;
    let theirs = stage.create(of(Some("nightly"))).await?;
    let nobodys = stage.create(of(None)).await?;
    ensure_eq!(ours.owner.as_deref(), Some("ci"), "the owner");
    ensure!(
        ours.id != theirs.id && ours.id != nobodys.id && theirs.id != nobodys.id,
        "one owner's key led to the session of another"
    );
    ensure_eq!(
        stage.create(of(Some("ci"))).await?.id,
        ours.id,
        "the session of the same key"
    );
    for (owner, expected) in [
        ("ci", vec![ours.id]),
        ("nightly", vec![theirs.id]),
        ("nobody", vec![]),
    ] {
        let filter = SessionFilter {
            owner: Some(owner.to_owned()),
            ..SessionFilter::default()
        };
        let found = stage.api.list(filter.clone()).await?;
        let found: Vec<_> = found.into_iter().map(|info| info.id).collect();
        ensure_eq!(found, expected, "the living sessions of {owner}");
        let found = stage.api.list(SessionFilter { all: true, ..filter }).await?;
        ensure_eq!(found.len(), expected.len(), "all sessions of {owner}");
    }
    ensure_eq!(
        stage.api.list(SessionFilter::default()).await?.len(),
        3,
        "the sessions of whomever"
    );
    Ok(())
}

async fn inspect_tells_what_it_uses_and_how_it_is_reached(stage: Arc<Stage>) -> Outcome {
    let info = stage.session().await?;
    let details = stage.api.inspect(&info.id).await?;
    ensure!(details.carrier.is_some(), "it is not said how it is reached");
    let resources = details.resources.ok_or("it is not said what it uses")?;
    ensure!(resources.pids >= 1, "there is PID 1 at least: {resources:?}");
    ensure!(
        details.container.contains(&info.id.to_string()),
        "the container is {}",
        details.container
    );
    Ok(())
}

async fn the_same_key_gives_the_same_session(stage: Arc<Stage>) -> Outcome {
    let request = CreateSession {
        idempotency_key: Some("one-and-the-same".to_owned()),
        ..stage.site.request()
    };
    let (first, again) = tokio::join!(
        stage.api.create(request.clone()),
        stage.api.create(request.clone())
    );
    let (first, again) = (first?, again?);
    ensure_eq!(
        first.id,
        again.id,
        "the session of the same request at the same time"
    );
    ensure_eq!(
        stage.create(request.clone()).await?.id,
        first.id,
        "the session of the same request later"
    );
    let other = CreateSession {
        name: Some("another".to_owned()),
        ..request
    };
    refused(stage.api.create(other).await, ErrorKind::IdempotencyMismatch)?;
    ensure_eq!(
        stage.api.list(SessionFilter::default()).await?.len(),
        1,
        "the sessions"
    );
    Ok(())
}

async fn a_paused_session_does_nothing_until_it_is_resumed(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    if !stage.site.capability().pause {
        refused(stage.api.pause(&id).await, ErrorKind::Unsupported)?;
        ensure_eq!(stage.state(&id).await?, StateName::Ready, "the state");
        return Ok(());
    }
    stage.api.pause(&id).await?;
    ensure_eq!(stage.state(&id).await?, StateName::Paused, "the state");
    stage.api.pause(&id).await?;
    refused_with_hint(stage.run_raw(&id, &["true"]).await, ErrorKind::StateConflict)?;
    refused_with_hint(stage.api.prompt(&id, prompt("x")).await, ErrorKind::StateConflict)?;
    stage.api.resume(&id).await?;
    stage.api.resume(&id).await?;
    ensure_eq!(stage.state(&id).await?, StateName::Ready, "the state");
    ensure_eq!(
        stage.run(&id, &["true"]).await?.exit.code,
        Some(0),
        "a command after the resume"
    );
    Ok(())
}

async fn a_session_of_a_foreign_image_works(stage: Arc<Stage>) -> Outcome {
    let request = CreateSession {
        image: Some(stage.site.foreign_image()),
        ..stage.site.request()
    };
    let info = stage.create(request).await?;
    ensure_eq!(
        stage.run(&info.id, &["id", "-u"]).await?.stdout,
        format!("{}\n", info.user.uid).into_bytes(),
        "the user"
    );
    let outcome = stage.prompt(&info.id, Act::Say("It works.".to_owned())).await?;
    ensure_eq!(outcome.text, "It works.", "what the agent said");
    Ok(())
}

async fn destroying_twice_succeeds_and_leaves_only_history(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.run(&id, &["true"]).await?;
    stage.api.destroy(&id).await?;
    stage.expect_gone(&id).await?;
    stage.api.destroy(&id).await?;
    ensure_eq!(stage.state(&id).await?, StateName::Destroyed, "the state");
    let events = stage.stored(&id).await?;
    let gone = EventKind::StateChanged {
        to: SessionState::Destroyed,
    };
    ensure!(
        events.iter().any(|event| event.kind == gone),
        "the history does not say that it is gone"
    );
    Ok(())
}

async fn a_destroyed_session_refuses_everything_but_reading(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.api.destroy(&id).await?;
    let conflict = ErrorKind::StateConflict;
    refused_with_hint(stage.api.prompt(&id, prompt("x")).await, conflict)?;
    refused_with_hint(stage.run_raw(&id, &["true"]).await, conflict)?;
    refused_with_hint(stage.api.interrupt(&id).await, conflict)?;
    refused_with_hint(stage.api.copy_out(&id, ".").await.map(drop), conflict)?;
    refused_with_hint(
        stage
            .api
            .copy_in(&id, ".", crate::conformance::archives::Tar::new().stream())
            .await,
        conflict,
    )?;
    refused_with_hint(stage.api.diff(&id).await, conflict)?;
    if stage.site.capability().pause {
        refused(stage.api.pause(&id).await, conflict)?;
        refused(stage.api.resume(&id).await, conflict)?;
    }
    stage.api.turns(&id).await?;
    stage.api.inspect(&id).await?;
    Ok(())
}

async fn a_session_that_works_can_be_destroyed(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.site.script(Act::Work);
    let turn = stage.api.prompt(&id, prompt("Work.")).await?;
    stage
        .until(async || {
            Ok(stage.api.turn(&id, &turn.id).await?.status == session_core::turn::TurnStatus::Running)
        })
        .await?;
    stage.api.destroy(&id).await?;
    stage.expect_gone(&id).await?;
    let turn = stage.api.turn(&id, &turn.id).await?;
    ensure!(turn.status.is_ended(), "the turn is still {:?}", turn.status);
    ensure!(turn.outcome.is_some(), "the turn has no outcome");
    Ok(())
}
