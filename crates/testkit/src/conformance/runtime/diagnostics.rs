//! [`ContainerRuntime::diagnostics`](session_core::runtime::ContainerRuntime::diagnostics).

use std::sync::Arc;

use super::stage::Stage;
use crate::conformance::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["diagnostics": is_empty_without_a_container, gives_no_more_than_was_asked_for]
}

async fn is_empty_without_a_container(stage: Arc<Stage>) -> Outcome {
    ensure_eq!(
        stage.runtime.diagnostics(&stage.spec().name, 1024).await?,
        "",
        "what nobody wrote"
    );
    Ok(())
}

async fn gives_no_more_than_was_asked_for(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    stage.end_init(&spec.name).await?;
    for limit in [0, 7, 4096] {
        let said = stage.runtime.diagnostics(&spec.name, limit).await?;
        // Each byte that is not text may have become a replacement of three.
        ensure!(
            said.len() <= limit * 3,
            "{} bytes where {limit} were asked for",
            said.len()
        );
    }
    Ok(())
}
