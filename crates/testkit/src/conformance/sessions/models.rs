//! A model that fails fails the turn, with the cause by its name, and never the session.

use std::sync::Arc;

use session_core::error::ErrorKind;
use session_core::state::StateName;
use session_core::turn::{TurnFailureCause, TurnStatus};

use super::stage::Stage;
use super::{Act, ModelFault};
use crate::conformance::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["models":
        a_model_that_answers_401,
        a_model_that_answers_429,
        a_model_that_answers_529,
        a_model_that_answers_garbage,
        a_model_that_answers_nothing,
    ]
}

async fn fail(stage: &Stage, fault: ModelFault, causes: &[TurnFailureCause]) -> Outcome {
    let id = stage.session().await?.id;
    let outcome = stage.prompt(&id, Act::Fail(fault)).await?;
    ensure_eq!(outcome.status, TurnStatus::Failed, "how the turn ended");
    let failure = outcome.failure.ok_or("it is not said why it failed")?;
    ensure!(
        causes.contains(&failure.cause),
        "it failed for {:?}: {}",
        failure.cause,
        failure.error.message
    );
    ensure_eq!(failure.error.code, ErrorKind::AgentFailed, "the code");
    ensure!(
        failure.error.hint.is_some(),
        "there is no hint: {}",
        failure.error.message
    );
    ensure_eq!(stage.state(&id).await?, StateName::Ready, "the state");
    let outcome = stage.prompt(&id, Act::Say("Better.".to_owned())).await?;
    ensure_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Better."),
        "the next turn"
    );
    Ok(())
}

async fn a_model_that_answers_401(stage: Arc<Stage>) -> Outcome {
    fail(
        &stage,
        ModelFault::Unauthorized,
        &[TurnFailureCause::ModelUnauthorized],
    )
    .await
}

async fn a_model_that_answers_429(stage: Arc<Stage>) -> Outcome {
    fail(
        &stage,
        ModelFault::RateLimited,
        &[TurnFailureCause::ModelOverloaded],
    )
    .await
}

async fn a_model_that_answers_529(stage: Arc<Stage>) -> Outcome {
    fail(
        &stage,
        ModelFault::Overloaded,
        &[TurnFailureCause::ModelOverloaded],
    )
    .await
}

async fn a_model_that_answers_garbage(stage: Arc<Stage>) -> Outcome {
    fail(&stage, ModelFault::Garbage, &[TurnFailureCause::ModelFailed]).await
}

async fn a_model_that_answers_nothing(stage: Arc<Stage>) -> Outcome {
    fail(
        &stage,
        ModelFault::Nothing,
        &[TurnFailureCause::ModelUnreachable, TurnFailureCause::ModelFailed],
    )
    .await
}
