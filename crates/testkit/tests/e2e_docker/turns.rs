//! Turns that go well, and turns that are interrupted.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use session_core::api::SessionApi;
use session_core::event::EventKind;
use session_core::session::{Carrier, PromptRequest};
use session_core::state::StateName;
use session_core::turn::{TurnFailureCause, TurnStatus};
use testkit::fixtures;
use testkit::model::Script;

use super::world::{World, prompt_of};
use super::{Outcome, outside, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "the_agent_fixes_a_bug",
            fixtures::fix_calculator_script,
            fixes_a_bug,
        ),
        test("later_prompts_reach_the_same_process", conversation, same_process),
        test("prompts_wait_for_their_turn_in_order", conversation, in_order),
        test("the_same_key_is_the_same_turn", conversation, same_key),
        test(
            "an_interrupt_ends_the_turn_and_not_the_session",
            hanging,
            interrupt,
        ),
        test(
            "an_interrupt_ends_a_command_of_the_agent",
            long_command,
            interrupt_command,
        ),
        test("a_turn_ends_at_its_time_limit", hanging, time_limit),
        test("a_paused_session_goes_on_where_it_was", conversation, pause),
    ]
}

fn conversation() -> Script {
    Script::new().say("One.").say("Two.").say("Three.")
}

fn hanging() -> Script {
    Script::new().hang().say("Here I am.")
}

fn long_command() -> Script {
    let wait = "echo started >/tmp/started; while true; do :; done";
    Script::new()
        .tool("Bash", json!({ "command": wait, "description": "Work" }))
        .say("Here I am.")
}

async fn fixes_a_bug(world: Arc<World>) -> Outcome {
    let repository = fixtures::buggy_calculator()?;
    let session = world.session_on_copy(repository.path()).await?;
    let test = ["python3", "-m", "unittest"];
    assert_ne!(
        world.run(&session, &test).await?.exit.code,
        Some(0),
        "the bug is there"
    );

    let outcome = world.prompt(&session, fixtures::FIX_CALCULATOR_PROMPT).await?;

    assert_eq!(outcome.status, TurnStatus::Succeeded, "{outcome:?}");
    assert_eq!(outcome.text, fixtures::FIX_CALCULATOR_SUMMARY);
    assert!(
        outcome.usage.output > 0 && outcome.cost_usd.is_some(),
        "{outcome:?}"
    );
    assert_eq!(
        world.run(&session, &test).await?.exit.code,
        Some(0),
        "the bug is gone"
    );
    let diff = world.manager.diff(&session).await?;
    let changed: Vec<_> = diff
        .files
        .iter()
        .map(|file| (file.status, file.path.as_str()))
        .collect();
    assert_eq!(changed, [('M', "calc.py")]);
    assert!(
        diff.patch.contains("+                value -= self._product()"),
        "{}",
        diff.patch
    );
    assert_eq!(
        repository.git(&["status", "--porcelain"])?,
        "",
        "the host's copy is not touched"
    );
    assert_eq!(world.model.unused_steps(), 0);

    let details = world.manager.inspect(&session).await?;
    assert_eq!(details.carrier, Some(Carrier::Socket));
    assert_eq!(details.info.state.name(), StateName::Ready);
    assert_eq!(details.model_usage.requests, world.model.requests().len() as u64);
    expect_story(&world, &session).await
}

/// The events tell the whole turn, in order.
async fn expect_story(world: &World, session: &session_core::id::SessionId) -> Outcome {
    let events = world.events(session).await?;
    let position = |what: &str, wanted: &dyn Fn(&EventKind) -> bool| {
        let found = events.iter().position(|event| wanted(&event.kind));
        found.unwrap_or_else(|| panic!("no {what} in {events:#?}"))
    };
    let order = [
        position("queued turn", &|kind| {
            matches!(kind, EventKind::TurnQueued { .. })
        }),
        position("started turn", &|kind| matches!(kind, EventKind::TurnStarted)),
        position("agent", &|kind| matches!(kind, EventKind::AgentReady { .. })),
        position("text", &|kind| matches!(kind, EventKind::AgentText { .. })),
        position(
            "edit",
            &|kind| matches!(kind, EventKind::ToolCall { tool, .. } if tool == "Edit"),
        ),
        position("end", &|kind| matches!(kind, EventKind::TurnFinished { .. })),
    ];
    assert!(order.is_sorted(), "{order:?} in {events:#?}");
    let results: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ToolResult { is_error, .. } => Some(*is_error),
            _ => None,
        })
        .collect();
    assert_eq!(
        results,
        [true, false, false, false],
        "only the first run of the tests fails: {events:#?}"
    );
    Ok(())
}

async fn same_process(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    assert_eq!(world.prompt(&session, "Count.").await?.text, "One.");
    let agent = outside::agent(&session).await?;
    assert_eq!(world.prompt(&session, "Go on.").await?.text, "Two.");
    assert_eq!(outside::agent(&session).await?, agent);

    let requests = world.model.conversation();
    let second = String::from_utf8_lossy(&requests[1].body).into_owned();
    for said in ["Count.", "One.", "Go on."] {
        assert!(second.contains(said), "the conversation has lost {said:?}");
    }
    Ok(())
}

async fn in_order(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let mut turns = Vec::new();
    for prompt in ["First.", "Second.", "Third."] {
        turns.push(world.manager.prompt(&session, prompt_of(prompt)).await?);
    }
    let mut texts = Vec::new();
    for turn in &turns {
        use session_core::api::SessionApiExt;
        texts.push(world.manager.wait_turn(turn).await?.text);
    }
    assert_eq!(texts, ["One.", "Two.", "Three."]);
    assert_eq!(world.model.conversation_count(), 3);
    Ok(())
}

async fn same_key(world: Arc<World>) -> Outcome {
    use session_core::api::SessionApiExt;
    let session = world.session().await?;
    let request = PromptRequest {
        idempotency_key: Some("only-once".to_owned()),
        ..prompt_of("Count.")
    };
    let first = world.manager.prompt(&session, request.clone()).await?;
    let second = world.manager.prompt(&session, request).await?;
    assert_eq!(first.id, second.id);
    assert_eq!(world.manager.wait_turn(&second).await?.text, "One.");
    assert_eq!(world.model.conversation_count(), 1);
    Ok(())
}

async fn interrupt(world: Arc<World>) -> Outcome {
    use session_core::api::SessionApiExt;
    let session = world.session().await?;
    let turn = world
        .manager
        .prompt(&session, prompt_of("Think for long."))
        .await?;
    world.model.wait_for_conversation(1).await;
    assert!(world.manager.interrupt(&session).await?);
    assert_eq!(
        world.manager.wait_turn(&turn).await?.status,
        TurnStatus::Interrupted
    );
    assert_eq!(world.prompt(&session, "Are you there?").await?.text, "Here I am.");
    assert!(!world.manager.interrupt(&session).await?, "nothing runs any more");
    Ok(())
}

async fn interrupt_command(world: Arc<World>) -> Outcome {
    use session_core::api::SessionApiExt;
    let session = world.session().await?;
    let turn = world.manager.prompt(&session, prompt_of("Work.")).await?;
    let started = ["sh", "-c", "until test -e /tmp/started; do sleep 0.05; done"];
    world.run(&session, &started).await?;
    assert!(world.manager.interrupt(&session).await?);
    assert_eq!(
        world.manager.wait_turn(&turn).await?.status,
        TurnStatus::Interrupted
    );
    let busy = outside::processes(&session)
        .await?
        .into_iter()
        .filter(|(_, args)| args.contains("while true"));
    assert_eq!(busy.collect::<Vec<_>>(), []);
    assert_eq!(world.prompt(&session, "Are you there?").await?.text, "Here I am.");
    Ok(())
}

async fn time_limit(world: Arc<World>) -> Outcome {
    use session_core::api::SessionApiExt;
    let session = world.session().await?;
    let limit = std::time::Duration::from_secs(3);
    let request = PromptRequest {
        time_limit: Some(limit),
        ..prompt_of("Think for long.")
    };
    let outcome = world.manager.prompt_and_wait(&session, request).await?;
    assert_eq!(outcome.status, TurnStatus::Failed);
    assert_eq!(
        outcome.failure.map(|failure| failure.cause),
        Some(TurnFailureCause::TimedOut)
    );
    assert_eq!(world.prompt(&session, "Are you there?").await?.text, "Here I am.");
    Ok(())
}

async fn pause(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    assert_eq!(world.prompt(&session, "Count.").await?.text, "One.");
    let agent = outside::agent(&session).await?;
    world.manager.pause(&session).await?;
    world.wait_state(&session, StateName::Paused).await?;
    let refused = world.manager.prompt(&session, prompt_of("Go on.")).await;
    assert!(refused.is_err(), "a paused session takes no prompt");
    world.manager.resume(&session).await?;
    assert_eq!(world.prompt(&session, "Go on.").await?.text, "Two.");
    assert_eq!(outside::agent(&session).await?, agent);
    Ok(())
}
