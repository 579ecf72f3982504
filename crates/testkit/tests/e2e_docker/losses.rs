//! Memory that runs out and containers that go away: the session says what is true, and names the cause.

use std::sync::Arc;

use libtest_mimic::Trial;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::command::ExitCause;
use session_core::error::ErrorKind;
use session_core::runtime::ResourceLimits;
use session_core::session::CreateSession;
use session_core::state::{InterruptCause, SessionState, StateName};
use session_core::turn::{TurnFailureCause, TurnStatus};
use testkit::model::Script;

use super::world::{World, prompt_of};
use super::{Outcome, outside, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "a_command_that_eats_all_memory",
            || Script::always("Here I am."),
            hungry_command,
        ),
        test(
            "an_agent_that_runs_out_of_memory",
            || Script::always("Done."),
            hungry_agent,
        ),
        test(
            "an_agent_that_is_killed",
            || Script::new().say("I will.").hang().say("Here I am."),
            killed_agent,
        ),
        test(
            "a_container_that_is_killed_in_a_turn",
            || Script::new().hang(),
            killed_container,
        ),
        test(
            "a_container_that_is_removed_in_a_turn",
            || Script::new().hang(),
            removed_container,
        ),
        test(
            "a_container_that_is_paused_by_somebody_else",
            || Script::always("Done."),
            foreign_pause,
        ),
    ]
}

fn memory(megabytes: u64) -> CreateSession {
    let limits = ResourceLimits {
        memory_bytes: megabytes << 20,
        ..ResourceLimits::default()
    };
    CreateSession {
        limits: Some(limits),
        ..CreateSession::default()
    }
}

async fn hungry_command(world: Arc<World>) -> Outcome {
    let session = world.create(memory(768)).await?.id;
    assert_eq!(world.prompt(&session, "Start.").await?.text, "Here I am.");
    let hungry = ["python3", "-c", "x = bytearray(2 << 30); print(len(x))"];
    let exit = world.run(&session, &hungry).await?.exit;
    assert_eq!(exit.cause, ExitCause::OutOfMemory, "{exit:?}");
    assert_eq!(
        world.manager.inspect(&session).await?.info.state,
        SessionState::Ready
    );
    assert_eq!(world.prompt(&session, "Are you there?").await?.text, "Here I am.");
    Ok(())
}

async fn hungry_agent(world: Arc<World>) -> Outcome {
    let session = world.create(memory(96)).await?.id;
    let outcome = world.prompt(&session, "Start.").await?;
    assert_eq!(outcome.status, TurnStatus::Failed, "{outcome:?}");
    let failure = outcome.failure.ok_or("a failed turn names its cause")?;
    assert_eq!(failure.cause, TurnFailureCause::OutOfMemory, "{failure:?}");
    assert!(failure.error.hint.is_some(), "{failure:?}");
    assert_eq!(
        world.manager.inspect(&session).await?.info.state,
        SessionState::Ready
    );
    assert_eq!(world.run(&session, &["true"]).await?.exit.code, Some(0));
    Ok(())
}

async fn killed_agent(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    // The agent keeps a conversation from its first answer on.
    world.prompt(&session, "Remember the lighthouse.").await?;
    let turn = world
        .manager
        .prompt(&session, prompt_of("Think for long."))
        .await?;
    world.model.wait_for_conversation(2).await;
    world
        .run(&session, &["pkill", "-KILL", "-f", "input-format"])
        .await?;
    let outcome = world.manager.wait_turn(&turn).await?;
    assert_eq!(
        outcome.failure.map(|failure| failure.cause),
        Some(TurnFailureCause::AgentDied)
    );
    assert_eq!(world.prompt(&session, "Are you there?").await?.text, "Here I am.");
    let last = world.model.conversation().pop().ok_or("a request")?;
    let resumed = String::from_utf8_lossy(&last.body).contains("Remember the lighthouse.");
    assert!(resumed, "the conversation goes on");
    Ok(())
}

async fn killed_container(world: Arc<World>) -> Outcome {
    lost(world, &["kill"], InterruptCause::ContainerExited).await
}

async fn removed_container(world: Arc<World>) -> Outcome {
    lost(world, &["rm", "--force"], InterruptCause::ContainerRemoved).await
}

async fn lost(world: Arc<World>, how: &[&str], cause: InterruptCause) -> Outcome {
    let session = world.session().await?;
    let turn = world
        .manager
        .prompt(&session, prompt_of("Think for long."))
        .await?;
    world.model.wait_for_conversation(1).await;
    let container = outside::container(&session);
    outside::docker(&[how, &[container.as_str()]].concat()).await?;

    let outcome = world.manager.wait_turn(&turn).await?;
    assert_eq!(outcome.status, TurnStatus::Failed, "{outcome:?}");
    let failure = outcome.failure.ok_or("a failed turn names its cause")?;
    assert_eq!(failure.cause, TurnFailureCause::SessionLost, "{failure:?}");
    let info = world.wait_state(&session, StateName::Interrupted).await?;
    assert_eq!(info.state, SessionState::Interrupted { cause });

    let refused = world
        .manager
        .prompt(&session, prompt_of("Are you there?"))
        .await
        .err();
    assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::StateConflict));
    world.manager.destroy(&session).await?;
    assert_eq!(outside::traces(&session).await?, Vec::<String>::new());
    Ok(())
}

async fn foreign_pause(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let container = outside::container(&session);
    outside::docker(&["pause", &container]).await?;
    world.wait_state(&session, StateName::Paused).await?;
    outside::docker(&["unpause", &container]).await?;
    world.wait_state(&session, StateName::Ready).await?;
    assert_eq!(world.run(&session, &["true"]).await?.exit.code, Some(0));
    Ok(())
}
