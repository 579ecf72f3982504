//! The agent gets prompts, one at a time, and can be interrupted.

use std::sync::Arc;
use std::time::Duration;

use session_core::api::SessionApiExt;
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::session::PromptRequest;
use session_core::state::StateName;
use session_core::turn::{TurnFailureCause, TurnStatus};

use super::Act;
use super::stage::{Stage, prompt};
use crate::conformance::{Case, Outcome, cases, refused};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["agent":
        a_prompt_has_an_outcome,
        what_the_agent_says_and_does_are_events,
        prompts_run_one_at_a_time_in_order,
        the_same_key_gives_the_same_turn,
        an_interrupt_ends_the_turn_and_the_session_goes_on,
        an_interrupt_takes_back_what_waits,
        an_interrupt_of_nothing_says_so,
        a_time_limit_ends_the_turn,
        commands_and_files_work_while_a_turn_runs,
    ]
}

async fn a_prompt_has_an_outcome(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for text in ["First answer.", "Second answer."] {
        let outcome = stage.prompt(&id, Act::Say(text.to_owned())).await?;
        ensure_eq!(outcome.status, TurnStatus::Succeeded, "how the turn ended");
        ensure_eq!(outcome.text, text, "what the agent said");
        ensure!(outcome.failure.is_none(), "it failed: {:?}", outcome.failure);
        ensure!(outcome.usage.output > 0, "no tokens were counted");
        ensure!(outcome.cost_usd.is_some(), "no cost was reckoned");
        ensure_eq!(outcome.model_calls, 1, "how often the model was asked");
    }
    let info = stage.api.inspect(&id).await?.info;
    ensure_eq!(info.state.name(), StateName::Ready, "the state");
    ensure_eq!(info.turns, 2, "the turns");
    let costs = stage
        .api
        .turns(&id)
        .await?
        .into_iter()
        .filter_map(|turn| turn.outcome?.cost_usd);
    let costs: Vec<f64> = costs.collect();
    ensure!(
        costs.iter().all(|cost| *cost > 0.0),
        "a turn has cost nothing: {costs:?}"
    );
    let off = (info.cost_usd - costs.iter().sum::<f64>()).abs();
    ensure!(
        off < 1e-9,
        "the session cost {} and its turns {costs:?}",
        info.cost_usd
    );
    Ok(())
}

async fn what_the_agent_says_and_does_are_events(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let act = Act::Write {
        path: "made".to_owned(),
        content: "by the agent\n".to_owned(),
        say: "Made.".to_owned(),
    };
    let outcome = stage.prompt(&id, act).await?;
    ensure_eq!(outcome.status, TurnStatus::Succeeded, "how the turn ended");
    ensure_eq!(
        stage.run(&id, &["cat", "made"]).await?.stdout,
        b"by the agent\n",
        "what the agent wrote"
    );
    let turn = stage.api.turns(&id).await?.remove(0);
    let events = stage.stored(&id).await?;
    let of_turn: Vec<_> = events
        .iter()
        .filter(|event| event.turn == Some(turn.id))
        .collect();
    let position = |wanted: fn(&EventKind) -> bool| of_turn.iter().position(|event| wanted(&event.kind));
    let places = [
        (
            "queued",
            position(|kind| matches!(kind, EventKind::TurnQueued { .. })),
        ),
        ("started", position(|kind| matches!(kind, EventKind::TurnStarted))),
        (
            "text",
            position(|kind| matches!(kind, EventKind::AgentText { text } if text == "Made.")),
        ),
        (
            "finished",
            position(|kind| matches!(kind, EventKind::TurnFinished { .. })),
        ),
    ];
    ensure!(
        places.iter().all(|(_, place)| place.is_some()),
        "events are missing: {places:?}"
    );
    ensure!(
        places.is_sorted_by_key(|(_, place)| *place),
        "events are out of order: {places:?}"
    );
    ensure_eq!(
        of_turn.first().map(|event| event.seq),
        Some(turn.first_event),
        "the turn's first event"
    );
    Ok(())
}

async fn prompts_run_one_at_a_time_in_order(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut turns = Vec::new();
    for number in 0..4 {
        stage.site.script(Act::Say(format!("Answer {number}.")));
    }
    for number in 0..4 {
        turns.push(
            stage
                .api
                .prompt(&id, prompt(&format!("Question {number}.")))
                .await?,
        );
    }
    for (number, turn) in turns.iter().enumerate() {
        ensure_eq!(
            stage.api.wait_turn(turn).await?.text,
            format!("Answer {number}."),
            "the answer"
        );
    }
    let mut running = false;
    for event in stage.stored(&id).await? {
        match event.kind {
            EventKind::TurnStarted => {
                ensure!(!running, "two turns ran at once");
                running = true;
            }
            EventKind::TurnFinished { .. } => running = false,
            _ => {}
        }
    }
    Ok(())
}

async fn the_same_key_gives_the_same_turn(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.site.script(Act::Say("Once.".to_owned()));
    let request = PromptRequest {
        idempotency_key: Some("only-once".to_owned()),
        ..prompt("Do it once.")
    };
    let first = stage.api.prompt(&id, request.clone()).await?;
    let again = stage.api.prompt(&id, request.clone()).await?;
    ensure_eq!(first.id, again.id, "the turn");
    ensure_eq!(stage.api.wait_turn(&first).await?.text, "Once.", "the answer");
    ensure_eq!(
        stage.api.prompt(&id, request.clone()).await?.id,
        first.id,
        "the turn once it ended"
    );
    let other = PromptRequest {
        prompt: "Do something else.".to_owned(),
        ..request
    };
    refused(stage.api.prompt(&id, other).await, ErrorKind::IdempotencyMismatch)?;
    ensure_eq!(stage.api.turns(&id).await?.len(), 1, "the turns");
    Ok(())
}

async fn an_interrupt_ends_the_turn_and_the_session_goes_on(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.site.script(Act::Work);
    let turn = stage.api.prompt(&id, prompt("Work.")).await?;
    stage
        .until(async || Ok(stage.api.turn(&id, &turn.id).await?.status == TurnStatus::Running))
        .await?;
    ensure_eq!(stage.state(&id).await?, StateName::Busy, "the state");
    ensure!(stage.api.interrupt(&id).await?, "nothing was running");
    let outcome = stage.api.wait_turn(&turn).await?;
    ensure_eq!(outcome.status, TurnStatus::Interrupted, "how the turn ended");
    ensure_eq!(stage.state(&id).await?, StateName::Ready, "the state");
    let outcome = stage.prompt(&id, Act::Say("Still here.".to_owned())).await?;
    ensure_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Still here."),
        "the next turn"
    );
    Ok(())
}

async fn an_interrupt_takes_back_what_waits(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.site.script(Act::Work);
    let first = stage.api.prompt(&id, prompt("Work.")).await?;
    let second = stage.api.prompt(&id, prompt("Never.")).await?;
    stage
        .until(async || Ok(stage.api.turn(&id, &first.id).await?.status == TurnStatus::Running))
        .await?;
    ensure!(stage.api.interrupt(&id).await?, "nothing was running");
    for turn in [&first, &second] {
        ensure_eq!(
            stage.api.wait_turn(turn).await?.status,
            TurnStatus::Interrupted,
            "how the turn ended"
        );
    }
    let events = stage.stored(&id).await?;
    let started = events
        .iter()
        .any(|event| event.turn == Some(second.id) && event.kind == EventKind::TurnStarted);
    ensure!(!started, "what was taken back was begun");
    Ok(())
}

async fn an_interrupt_of_nothing_says_so(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    ensure!(
        !stage.api.interrupt(&id).await?,
        "something was interrupted where nothing ran"
    );
    Ok(())
}

async fn a_time_limit_ends_the_turn(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.site.script(Act::Work);
    let limited = PromptRequest {
        time_limit: Some(Duration::from_secs(1)),
        ..prompt("Work.")
    };
    let outcome = stage.api.prompt_and_wait(&id, limited).await?;
    let failure = outcome.failure.ok_or("it did not fail")?;
    ensure_eq!(failure.cause, TurnFailureCause::TimedOut, "why it failed");
    ensure_eq!(failure.error.code, ErrorKind::LimitExceeded, "the code");
    ensure!(failure.error.hint.is_some(), "there is no hint");
    let outcome = stage.prompt(&id, Act::Say("Next.".to_owned())).await?;
    ensure_eq!(outcome.text, "Next.", "the next answer");
    Ok(())
}

async fn commands_and_files_work_while_a_turn_runs(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.site.script(Act::Work);
    let turn = stage.api.prompt(&id, prompt("Work.")).await?;
    stage
        .until(async || Ok(stage.state(&id).await? == StateName::Busy))
        .await?;
    ensure_eq!(
        stage.run(&id, &["echo", "meanwhile"]).await?.stdout,
        b"meanwhile\n",
        "a command"
    );
    let archive = crate::conformance::archives::Tar::new().file("meanwhile", b"x");
    stage.api.copy_in(&id, ".", archive.stream()).await?;
    ensure_eq!(stage.state(&id).await?, StateName::Busy, "the state");
    ensure!(stage.api.interrupt(&id).await?, "nothing was running");
    stage.api.wait_turn(&turn).await?;
    Ok(())
}
