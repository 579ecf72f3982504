//! What a sealed session may reach and use is asked for, decided, counted and shown; and its programs are told the way
//! out.

use std::sync::Arc;

use session_core::budget::{Budget, Spending};
use session_core::egress::{DecideEgress, HostRule};
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::gateway::EGRESS_PORT;
use session_core::id::SessionId;
use session_core::session::CreateSession;

use super::stage::Stage;
use crate::conformance::{Case, Outcome, cases, refused, refused_with_hint};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["seal":
        what_was_asked_for_is_shown,
        programs_are_told_the_way_out,
        a_decision_is_kept_once_and_replaced_by_its_opposite,
        a_decision_for_all_holds_for_every_session,
        a_session_that_ended_or_never_was_is_not_decided_about,
        a_new_session_has_used_nothing,
    ]
}

fn rule(text: &str) -> Result<HostRule, libtest_mimic::Failed> {
    Ok(text.parse()?)
}

async fn what_was_asked_for_is_shown(stage: Arc<Stage>) -> Outcome {
    let request = CreateSession {
        allow: vec!["*.example.com:8443".parse()?, "localhost:80".parse()?],
        budget: Budget {
            tokens: Some(1_000_000),
            ..Budget::default()
        },
        small_model: Some("small-1".to_owned()),
        ..stage.site.request()
    };
    let id = stage.create(request.clone()).await?.id;
    let info = stage.api.inspect(&id).await?.info;
    ensure_eq!(info.allow, request.allow, "the allowed hosts");
    ensure_eq!(info.budget, request.budget, "the budget");
    ensure_eq!(info.small_model, request.small_model, "the model for small tasks");
    Ok(())
}

async fn programs_are_told_the_way_out(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let env = String::from_utf8(stage.run(&id, &["env"]).await?.stdout)?;
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        let line = format!("{name}=http://127.0.0.1:{EGRESS_PORT}");
        ensure!(env.lines().any(|had| had == line), "{line} is not in {env}");
    }
    Ok(())
}

async fn a_decision_is_kept_once_and_replaced_by_its_opposite(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let decision = |allow| -> Result<DecideEgress, libtest_mimic::Failed> {
        Ok(DecideEgress {
            session: Some(id),
            rule: rule("a.example.com:443")?,
            allow,
        })
    };
    let first = stage.api.decide_egress(decision(true)?).await?;
    let again = stage.api.decide_egress(decision(true)?).await?;
    ensure_eq!(again, first, "the same decision");
    let opposite = stage.api.decide_egress(decision(false)?).await?;
    let held = stage.api.egress_decisions(Some(&id)).await?;
    ensure_eq!(held, vec![opposite], "what holds");
    let told = stage.stored(&id).await?.into_iter().filter_map(|event| {
        let EventKind::EgressDecided { allow, for_all, .. } = event.kind else {
            return None;
        };
        Some((allow, for_all))
    });
    let told: Vec<_> = told.collect();
    ensure_eq!(told, vec![(true, false), (false, false)], "what was told");
    Ok(())
}

async fn a_decision_for_all_holds_for_every_session(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let decision = DecideEgress {
        session: None,
        rule: rule("*.example.com")?,
        allow: true,
    };
    let given = stage.api.decide_egress(decision).await?;
    let of_session = stage.api.egress_decisions(Some(&id)).await?;
    ensure_eq!(of_session, vec![given.clone()], "what holds for the session");
    let of_all = stage.api.egress_decisions(None).await?;
    ensure_eq!(of_all, vec![given], "what holds");
    ensure!(
        stage.api.egress_requests(None).await?.is_empty(),
        "something waits that was never asked for"
    );
    Ok(())
}

async fn a_session_that_ended_or_never_was_is_not_decided_about(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.api.destroy(&id).await?;
    let about = |session| -> Result<DecideEgress, libtest_mimic::Failed> {
        Ok(DecideEgress {
            session: Some(session),
            rule: rule("a.example.com")?,
            allow: true,
        })
    };
    refused_with_hint(
        stage.api.decide_egress(about(id)?).await,
        ErrorKind::StateConflict,
    )?;
    let nobody = SessionId::new();
    refused(stage.api.decide_egress(about(nobody)?).await, ErrorKind::NotFound)?;
    refused(
        stage.api.egress_requests(Some(&nobody)).await,
        ErrorKind::NotFound,
    )?;
    refused(
        stage.api.egress_decisions(Some(&nobody)).await,
        ErrorKind::NotFound,
    )?;
    refused(stage.api.usage(Some(&nobody)).await, ErrorKind::NotFound)?;
    Ok(())
}

async fn a_new_session_has_used_nothing(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let spent = stage.api.usage(Some(&id)).await?;
    ensure_eq!(spent.session, Spending::default(), "what the session used");
    let all = stage.api.usage(None).await?;
    ensure_eq!(all.session, all.today, "what all used in their lives and today");
    Ok(())
}
