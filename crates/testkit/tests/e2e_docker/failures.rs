//! A model that fails: each time the turn ends with a cause that a caller can act on, and the session works on.

use std::sync::Arc;

use libtest_mimic::Trial;
use session_core::state::StateName;
use session_core::turn::{TurnFailureCause, TurnStatus};
use testkit::model::{ApiFailure, Script};

use super::world::World;
use super::{Outcome, test};

/// The agent tries again for minutes; its own setting bounds that here.
const IMPATIENT: [(&str, &str); 2] = [("CLAUDE_CODE_MAX_RETRIES", "1"), ("API_TIMEOUT_MS", "3000")];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        failing(
            "a_model_that_says_401",
            || with(ApiFailure::unauthorized()),
            TurnFailureCause::ModelUnauthorized,
        ),
        failing(
            "a_model_that_says_403",
            || with(ApiFailure::forbidden()),
            TurnFailureCause::ModelUnauthorized,
        ),
        failing(
            "a_model_that_says_429",
            || with(ApiFailure::rate_limited()),
            TurnFailureCause::ModelOverloaded,
        ),
        failing(
            "a_model_that_says_529",
            || with(ApiFailure::overloaded()),
            TurnFailureCause::ModelOverloaded,
        ),
        failing(
            "a_model_that_says_500",
            || with(ApiFailure::internal()),
            TurnFailureCause::ModelFailed,
        ),
        failing(
            "a_model_that_says_garbage",
            || Script::new().garbage().forever(),
            TurnFailureCause::ModelFailed,
        ),
        failing(
            "a_model_that_says_nothing",
            || Script::new().close().forever(),
            TurnFailureCause::ModelUnreachable,
        ),
        failing(
            "a_model_that_hangs",
            || Script::new().hang().forever(),
            TurnFailureCause::ModelUnreachable,
        ),
        test("a_model_that_stumbles", stumbling, stumbles),
        test("a_model_that_recovers", recovering, recovers),
        test("a_model_that_is_not_there", Script::new, unreachable),
    ]
}

fn with(failure: ApiFailure) -> Script {
    Script::new().fail(failure).forever()
}

fn failing(name: &'static str, script: fn() -> Script, cause: TurnFailureCause) -> Trial {
    test(name, script, move |world| fails_with(world, cause))
}

async fn fails_with(world: Arc<World>, cause: TurnFailureCause) -> Outcome {
    let session = world.session_with(&IMPATIENT).await?;
    let outcome = world.prompt(&session, "Try.").await?;
    assert_eq!(outcome.status, TurnStatus::Failed, "{outcome:?}");
    let failure = outcome.failure.ok_or("a failed turn names its cause")?;
    assert_eq!(failure.cause, cause, "{failure:?}");
    assert!(!failure.error.message.is_empty(), "{failure:?}");
    assert!(failure.error.hint.is_some(), "{failure:?}");

    world.model.set_script(Script::new().say("Here I am."));
    let next = world.prompt(&session, "Are you there?").await?;
    assert_eq!(
        (next.status, next.text.as_str()),
        (TurnStatus::Succeeded, "Here I am."),
        "{next:?}"
    );
    assert_eq!(world.wait_state(&session, StateName::Ready).await?.turns, 2);
    Ok(())
}

fn stumbling() -> Script {
    Script::new().fail(ApiFailure::overloaded()).say("Here I am.")
}

/// The gateway asks again, and the agent notices nothing.
async fn stumbles(world: Arc<World>) -> Outcome {
    let session = world.session_with(&IMPATIENT).await?;
    let outcome = world.prompt(&session, "Try.").await?;
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Here I am."),
        "{outcome:?}"
    );
    assert!(!world.events(&session).await?.iter().any(retried));
    assert_eq!(world.model.requests().len(), 2);
    Ok(())
}

fn retried(event: &session_core::event::Event) -> bool {
    matches!(event.kind, session_core::event::EventKind::ModelRetry { .. })
}

/// As often as the gateway asks by itself.
fn recovering() -> Script {
    Script::new()
        .fail(ApiFailure::overloaded())
        .fail(ApiFailure::overloaded())
        .fail(ApiFailure::overloaded())
        .say("Here I am.")
}

async fn recovers(world: Arc<World>) -> Outcome {
    let session = world.session_with(&IMPATIENT).await?;
    let outcome = world.prompt(&session, "Try.").await?;
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Here I am."),
        "{outcome:?}"
    );
    let events = world.events(&session).await?;
    assert!(events.iter().any(retried), "a retry is told: {events:#?}");
    Ok(())
}

async fn unreachable(world: Arc<World>) -> Outcome {
    // A port that was ours a moment ago and that nobody serves.
    let free = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", free.local_addr()?);
    drop(free);
    let state = super::world::state_dir()?;
    let manager =
        super::world::open_manager(state.path(), Arc::clone(&world.runtime), &url, world.key.text()).await?;
    let outcome = async {
        use session_core::api::{SessionApi, SessionApiExt};
        let env = IMPATIENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = session_core::session::CreateSession {
            env: env.into(),
            ..Default::default()
        };
        let session = manager.create(request).await?;
        let outcome = manager
            .prompt_and_wait(&session.id, super::world::prompt_of("Try."))
            .await;
        manager.destroy(&session.id).await?;
        outcome
    }
    .await;
    manager.shutdown().await;
    let failure = outcome?.failure.ok_or("a failed turn names its cause")?;
    assert_eq!(failure.cause, TurnFailureCause::ModelUnreachable, "{failure:?}");
    Ok(())
}
