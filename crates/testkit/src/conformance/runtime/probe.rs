//! [`ContainerRuntime::probe`](session_core::runtime::ContainerRuntime::probe).

use std::sync::Arc;

use session_core::error::ErrorKind;

use super::stage::Stage;
use crate::conformance::{Case, Outcome, cases, refused_with_hint};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["probe":
        answers_with_the_version_when_it_is_up,
        fails_with_engine_unavailable_and_a_hint_when_nobody_answers,
        findings_are_sentences,
    ]
}

async fn answers_with_the_version_when_it_is_up(stage: Arc<Stage>) -> Outcome {
    let health = stage.runtime.probe().await?;
    ensure!(!health.version.trim().is_empty(), "there is no version");
    Ok(())
}

async fn fails_with_engine_unavailable_and_a_hint_when_nobody_answers(stage: Arc<Stage>) -> Outcome {
    let error = refused_with_hint(
        stage.lab.unreachable().probe().await,
        ErrorKind::EngineUnavailable,
    )?;
    ensure!(error.is_retryable(), "an engine that is down may come up");
    Ok(())
}

async fn findings_are_sentences(stage: Arc<Stage>) -> Outcome {
    for finding in stage.runtime.probe().await?.findings {
        ensure!(
            finding.split_whitespace().count() > 2,
            "not a sentence: {finding:?}"
        );
    }
    Ok(())
}
