//! A manager that is killed in the middle of a turn, and another one that finishes it: nothing lost, nothing twice (I12).

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::PromptRequest;
use session_core::turn::TurnStatus;
use testkit::model::Script;

use super::owner::{Owner, PROMPT, PROMPT_KEY};
use super::world::{World, prompt_of};
use super::{Outcome, outside, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "a_turn_outlives_its_manager_while_the_agent_works",
            working,
            killed_while_the_agent_works,
        ),
        test(
            "a_turn_outlives_its_manager_while_the_model_thinks",
            thinking,
            killed_while_the_model_thinks,
        ),
        test(
            "a_turn_that_ended_without_a_manager_is_settled",
            working,
            ended_meanwhile,
        ),
        test(
            "two_managers_share_a_session",
            || Script::new().say("One.").say("Two."),
            two_managers,
        ),
        test(
            "a_manager_that_comes_back_removes_what_nobody_wants",
            Script::new,
            orphans,
        ),
    ]
}

/// A command that takes long enough for a change of managers; then an answer.
fn working() -> Script {
    let command = "echo begun >/tmp/begun; until test -e /tmp/go-on; do sleep 0.05; done; echo worked";
    Script::new()
        .tool("Bash", json!({ "command": command, "description": "Work" }))
        .say("Worked.")
}

/// The first answer never comes; what is asked again is answered.
fn thinking() -> Script {
    Script::new().hang().say("Thought.")
}

async fn killed_while_the_agent_works(world: Arc<World>) -> Outcome {
    let owner = Owner::start(&world).await?;
    let (session, turn) = (owner.session, owner.turn);
    wait_for_file(&world, &session, "/tmp/begun").await?;
    let agent = outside::agent(&session).await?;
    owner.kill().await?;

    let found = take_up(&world, &session).await?;
    assert_eq!(found, turn, "it is the same turn");
    world.run(&session, &["touch", "/tmp/go-on"]).await?;
    let outcome = world
        .manager
        .wait_turn(&world.manager.turn(&session, &turn).await?)
        .await?;

    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Worked."),
        "{outcome:?}"
    );
    assert_eq!(outside::agent(&session).await?, agent, "the agent went on");
    expect_once(&world, &session, 2).await
}

async fn killed_while_the_model_thinks(world: Arc<World>) -> Outcome {
    let owner = Owner::start(&world).await?;
    let (session, turn) = (owner.session, owner.turn);
    world.model.wait_for_conversation(1).await;
    owner.kill().await?;

    assert_eq!(take_up(&world, &session).await?, turn);
    let outcome = world
        .manager
        .wait_turn(&world.manager.turn(&session, &turn).await?)
        .await?;
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Thought."),
        "{outcome:?}"
    );
    // The agent asked again for the answer that was under way; the prompt itself stands in the conversation once.
    expect_once(&world, &session, 2).await
}

async fn ended_meanwhile(world: Arc<World>) -> Outcome {
    let owner = Owner::start(&world).await?;
    let (session, turn) = (owner.session, owner.turn);
    wait_for_file(&world, &session, "/tmp/begun").await?;
    // Both managers are linked; the second one does not own the turn, and takes nothing.
    owner.kill().await?;
    world.run(&session, &["touch", "/tmp/go-on"]).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    assert_eq!(take_up(&world, &session).await?, turn);
    let outcome = world
        .manager
        .wait_turn(&world.manager.turn(&session, &turn).await?)
        .await?;
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Worked."),
        "{outcome:?}"
    );
    expect_once(&world, &session, 2).await
}

/// Asks for the same prompt again, as its caller would who heard no answer.
async fn take_up(
    world: &World,
    session: &SessionId,
) -> Result<session_core::id::TurnId, Box<dyn std::error::Error + Send + Sync>> {
    let request = PromptRequest {
        idempotency_key: Some(PROMPT_KEY.to_owned()),
        ..prompt_of(PROMPT)
    };
    Ok(world.manager.prompt(session, request).await?.id)
}

async fn wait_for_file(world: &World, session: &SessionId, path: &str) -> Outcome {
    let script = format!("until test -e {path}; do sleep 0.05; done");
    world.run(session, &["sh", "-c", &script]).await?;
    Ok(())
}

/// The model was asked so often; the conversation holds the prompt once; every event is there once.
async fn expect_once(world: &World, session: &SessionId, requests: u64) -> Outcome {
    assert_eq!(world.model.conversation_count(), requests);
    let last = world.model.conversation().pop().ok_or("a request")?;
    let prompts = String::from_utf8_lossy(&last.body).matches(PROMPT).count();
    assert_eq!(prompts, 1, "the agent has the prompt once");
    let events = world.events(session).await?;
    let count = |wanted: fn(&EventKind) -> bool| events.iter().filter(|event| wanted(&event.kind)).count();
    assert_eq!(count(|kind| matches!(kind, EventKind::TurnQueued { .. })), 1);
    assert_eq!(count(|kind| matches!(kind, EventKind::TurnFinished { .. })), 1);
    assert_eq!(
        count(|kind| matches!(kind, EventKind::AgentReady { .. })),
        1,
        "{events:#?}"
    );
    let texts = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::AgentText { .. }));
    assert_eq!(texts.count(), 1, "{events:#?}");
    Ok(())
}

async fn two_managers(world: Arc<World>) -> Outcome {
    let other = world.another_manager().await?;
    let session = world.session().await?;
    assert_eq!(world.prompt(&session, "Count.").await?.text, "One.");
    // The first owns the agent; the second works beside it.
    let ran = other
        .command_output(
            &session,
            session_core::command::CommandRequest::new(["echo", "beside"]),
            100,
        )
        .await?;
    assert_eq!(ran.stdout, b"beside\n");
    let outcome = other.prompt_and_wait(&session, prompt_of("Go on.")).await?;
    assert_eq!(outcome.text, "Two.");
    other.shutdown().await;
    Ok(())
}

async fn orphans(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let foreign = tempfile::Builder::new().prefix("cofferdam-e2e-").tempdir()?;
    let copied = foreign.path().join("state");
    // A state directory that signs alike and has no record: whatever bears its signature is an orphan to it.
    std::fs::create_dir(&copied)?;
    std::fs::set_permissions(&copied, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    std::fs::create_dir(copied.join("keys"))?;
    std::fs::set_permissions(
        copied.join("keys"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )?;
    std::fs::copy(
        world.state().join("keys/label.key"),
        copied.join("keys/label.key"),
    )?;
    let other = super::world::open_manager(
        &copied,
        Arc::clone(&world.runtime),
        &world.model.url(),
        world.key.text(),
    )
    .await?;
    let removed = other.reconcile().await?;
    other.shutdown().await;
    let name = outside::container(&session);
    // It reconciles by itself, too, so it may have been quicker than we were.
    assert!(
        removed.removed.iter().any(|thing| thing.name == name) || outside::traces(&session).await?.is_empty(),
        "{removed:?}"
    );
    assert_eq!(outside::traces(&session).await?, Vec::<String>::new());
    Ok(())
}
