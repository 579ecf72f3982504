//! The watchdog and the real agent: whoever holds a turn up is named, and a restarted agent has its conversation.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libtest_mimic::Trial;
use session_core::activity::{Activity, StallAction, StallCause, StallRule, WatchdogPolicy};
use session_core::api::{SessionApi, SessionApiExt};
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::manager::SessionManager;
use session_core::session::CreateSession;
use session_core::turn::{TurnFailureCause, TurnInfo, TurnStatus};
use testkit::model::{Gate, Script};

use super::world::{World, prompt_of};
use super::{Outcome, test};

/// Told soon, restarted a little later.
const IMPATIENT: StallRule =
    StallRule::tell(Duration::from_secs(2)).then(StallAction::Restart, Duration::from_secs(4));

/// Stops every process of the agent where it stands; the pattern does not match itself.
const FREEZE: &str = "for found in $(grep -ls 'input-forma[t]' /proc/[0-9]*/cmdline); do
    id=${found#/proc/}; kill -STOP ${id%/cmdline} && echo stopped; done";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "a_model_that_hangs_is_named_and_the_agent_restarted",
            Script::new,
            hangs,
        ),
        test(
            "an_agent_that_stands_still_is_named_and_restarted",
            Script::new,
            stands_still,
        ),
    ]
}

async fn hangs(world: Arc<World>) -> Outcome {
    let policy = WatchdogPolicy {
        model_unreachable: Some(IMPATIENT),
        ..WatchdogPolicy::OFF
    };
    let manager = world.watching_manager(policy).await?;
    let session = begun(&world, &manager).await?;
    world.model.set_script(Script::new().hang().forever());
    let turn = manager.prompt(&session, prompt_of("Now this.")).await?;
    let cause = StallCause::ModelUnreachable;
    assert_eq!(stalls(&manager, &turn, 1).await?, [(cause, StallAction::Tell)]);
    let details = manager.inspect(&session).await?;
    let waits = matches!(
        details.activity,
        Some(Activity::WaitingForModel { silent_ms: 1_500.. })
    );
    assert!(waits, "{:?}", details.activity);
    assert_eq!(details.stall, Some(cause));
    restarted(&world, &manager, &turn, cause, TurnFailureCause::ModelUnreachable).await
}

async fn stands_still(world: Arc<World>) -> Outcome {
    let policy = WatchdogPolicy {
        agent_silent: Some(IMPATIENT),
        ..WatchdogPolicy::OFF
    };
    let manager = world.watching_manager(policy).await?;
    let session = begun(&world, &manager).await?;
    let gate = Gate::new();
    world
        .model
        .set_script(Script::new().say("Never read.").gated(&gate));
    let turn = manager.prompt(&session, prompt_of("Now this.")).await?;
    asked(&manager, &session).await?;
    assert_eq!(world.read(&session, &["sh", "-c", FREEZE]).await?, "stopped");
    gate.open();
    let cause = StallCause::AgentSilent;
    assert_eq!(stalls(&manager, &turn, 1).await?, [(cause, StallAction::Tell)]);
    let activity = manager.inspect(&session).await?.activity;
    let alone = matches!(activity, Some(Activity::Working { quiet_ms: 1_500.. }));
    assert!(alone, "{activity:?}");
    restarted(&world, &manager, &turn, cause, TurnFailureCause::AgentSilent).await
}

/// A session whose agent has a conversation.
async fn begun(
    world: &World,
    manager: &SessionManager,
) -> Result<SessionId, Box<dyn std::error::Error + Send + Sync>> {
    world.model.set_script(Script::new().say("Noted."));
    let session = manager.create(CreateSession::default()).await?.id;
    let outcome = manager
        .prompt_and_wait(&session, prompt_of("The word is periwinkle."))
        .await?;
    assert_eq!(outcome.text, "Noted.", "{outcome:?}");
    Ok(session)
}

/// Waits until the agent has asked the model.
async fn asked(manager: &SessionManager, session: &SessionId) -> Outcome {
    let waiting = async {
        loop {
            let activity = manager.inspect(session).await?.activity;
            if matches!(activity, Some(Activity::WaitingForModel { .. })) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await?
}

/// The first so many stalls that were told of a turn.
async fn stalls(
    manager: &SessionManager,
    turn: &TurnInfo,
    count: usize,
) -> Result<Vec<(StallCause, StallAction)>, Box<dyn std::error::Error + Send + Sync>> {
    let mut events = manager.events(&turn.session, turn.first_event - 1).await?;
    let mut told = Vec::new();
    while told.len() < count {
        let event = events.next().await.ok_or("the session goes on")??;
        match event.kind {
            EventKind::AgentStalled { cause, action, .. } => told.push((cause, action)),
            EventKind::TurnFinished { outcome } if event.turn == Some(turn.id) => {
                return Err(format!("the turn ended: {outcome:?}").into());
            }
            _ => {}
        }
    }
    Ok(told)
}

/// The turn fails with its cause, its agent is started again, and the next prompt goes on with the conversation.
async fn restarted(
    world: &World,
    manager: &SessionManager,
    turn: &TurnInfo,
    cause: StallCause,
    failure: TurnFailureCause,
) -> Outcome {
    let outcome = manager.wait_turn(turn).await?;
    assert_eq!(outcome.status, TurnStatus::Failed, "{outcome:?}");
    assert_eq!(outcome.failure.map(|failure| failure.cause), Some(failure));
    let expected = [(cause, StallAction::Tell), (cause, StallAction::Restart)];
    assert_eq!(stalls(manager, turn, 2).await?, expected);
    world.model.set_script(Script::new().say("Periwinkle."));
    let outcome = manager
        .prompt_and_wait(&turn.session, prompt_of("Which word?"))
        .await?;
    assert_eq!(outcome.text, "Periwinkle.", "{outcome:?}");
    let requests = world.model.conversation();
    let last = requests.last().ok_or("the model was asked")?;
    assert!(last.first_user_text().contains("The word is periwinkle."));
    assert!(last.last_user_text().contains("Which word?"));
    assert_eq!(
        manager.inspect(&turn.session).await?.activity,
        Some(Activity::Idle)
    );
    manager.shutdown().await;
    Ok(())
}
