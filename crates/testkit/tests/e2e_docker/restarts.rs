//! An engine that is killed and comes back, on an engine of our own: the session says what became of it and, where its caller
//! asked for that, comes back with its work and its conversation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::lifetime::OnInterrupt;
use session_core::session::CreateSession;
use session_core::state::{InterruptCause, SessionState, StateName};
use session_core::turn::{TurnFailureCause, TurnInfo, TurnStatus};
use testkit::model::Script;
use testkit::second_engine::SecondEngine;

use super::world::{World, prompt_of};
use super::{Outcome, test_in};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// An engine that was killed answers again within this time.
const BACK: Duration = Duration::from_secs(10);
/// What the agent is told first, and must still know at the end.
const LIGHTHOUSE: &str = "Remember the lighthouse.";
const WORK: &str = "/workspace/work";

pub(crate) fn tests() -> Vec<Trial> {
    let tests = vec![
        test_in(
            "a_second_engine_ends_with_all_that_it_ran",
            || World::open_on_own_engine(script()),
            ends_with_all,
        ),
        test_in(
            "an_engine_that_restarts_interrupts_its_sessions",
            || World::open_on_own_engine(script()),
            interrupted,
        ),
        test_in(
            "a_session_comes_back_by_itself_after_an_engine_restart",
            || World::open_on_own_engine(script()),
            back_by_itself,
        ),
        test_in(
            "a_session_is_resumed_by_hand_after_an_engine_restart",
            || World::open_on_own_engine(script()),
            back_by_hand,
        ),
    ];
    // Where there can be no other engine, nothing can be said of its restarts.
    let missing = SecondEngine::unavailable().is_some();
    tests
        .into_iter()
        .map(|test| test.with_ignored_flag(missing))
        .collect()
}

/// A turn that ends, one that is under way when the engine dies, and what comes after.
fn script() -> Script {
    Script::new().say("I will.").hang().say("Here I am.")
}

/// A session at work: with a file, a conversation, and a turn that waits for its model.
async fn at_work(world: &World, on_interrupt: OnInterrupt) -> Result<(SessionId, TurnInfo)> {
    let request = CreateSession {
        on_interrupt,
        ..CreateSession::default()
    };
    let session = world.create(request).await?.id;
    world.read(&session, &["touch", WORK]).await?;
    assert_eq!(world.prompt(&session, LIGHTHOUSE).await?.text, "I will.");
    let turn = world
        .manager
        .prompt(&session, prompt_of("Think for long."))
        .await?;
    world.model.wait_for_conversation(2).await;
    Ok((session, turn))
}

async fn restart(world: &World) -> Outcome {
    let started = Instant::now();
    world.own_engine()?.lock().await.restart().await?;
    let took = started.elapsed();
    assert!(took < BACK, "the engine was away for {took:?}");
    Ok(())
}

/// What ran is never run again.
async fn expect_lost(world: &World, turn: &TurnInfo) -> Outcome {
    let outcome = world.manager.wait_turn(turn).await?;
    assert_eq!(outcome.status, TurnStatus::Failed, "{outcome:?}");
    let failure = outcome.failure.ok_or("a failed turn names its cause")?;
    assert_eq!(failure.cause, TurnFailureCause::SessionLost, "{failure:?}");
    Ok(())
}

async fn expect_interrupted(world: &World, session: &SessionId) -> Outcome {
    let info = world.wait_state(session, StateName::Interrupted).await?;
    let cause = InterruptCause::EngineRestart;
    assert_eq!(info.state, SessionState::Interrupted { cause });
    Ok(())
}

/// The same workspace, the same conversation, and one event that says so.
async fn expect_recovered(world: &World, session: &SessionId) -> Outcome {
    world.read(session, &["cat", WORK]).await?;
    let last = world.model.conversation().pop().ok_or("a request")?;
    let remembered = String::from_utf8_lossy(&last.body).contains(LIGHTHOUSE);
    assert!(remembered, "the conversation goes on");
    let events = world.events(session).await?;
    let recovered = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Recovered { cause, .. } => Some(*cause),
            _ => None,
        })
        .collect::<Vec<_>>();
    assert_eq!(recovered, [InterruptCause::EngineRestart]);
    Ok(())
}

async fn ends_with_all(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    assert_eq!(world.run(&session, &["true"]).await?.exit.code, Some(0));
    let mut engine = world.own_engine()?.lock().await;
    let names = engine.containers().await?;
    let container = session_core::id::ContainerName::of(&session).to_string();
    assert!(names.contains(&container), "{names:?}");
    engine.restart().await?;
    engine.clean().await?;
    assert_eq!(engine.containers().await?, Vec::<String>::new());
    Ok(())
}

async fn interrupted(world: Arc<World>) -> Outcome {
    let (session, turn) = at_work(&world, OnInterrupt::Stop).await?;
    restart(&world).await?;
    expect_lost(&world, &turn).await?;
    expect_interrupted(&world, &session).await
}

async fn back_by_itself(world: Arc<World>) -> Outcome {
    let (session, lost) = at_work(&world, OnInterrupt::Resume).await?;
    let waiting = world
        .manager
        .prompt(&session, prompt_of("Are you there?"))
        .await?;
    restart(&world).await?;
    expect_lost(&world, &lost).await?;
    let outcome = world.manager.wait_turn(&waiting).await?;
    assert_eq!(outcome.text, "Here I am.", "{outcome:?}");
    expect_recovered(&world, &session).await
}

async fn back_by_hand(world: Arc<World>) -> Outcome {
    let (session, lost) = at_work(&world, OnInterrupt::Stop).await?;
    restart(&world).await?;
    expect_lost(&world, &lost).await?;
    expect_interrupted(&world, &session).await?;
    world.manager.resume(&session).await?;
    let outcome = world.prompt(&session, "Are you there?").await?;
    assert_eq!(outcome.text, "Here I am.", "{outcome:?}");
    expect_recovered(&world, &session).await
}
