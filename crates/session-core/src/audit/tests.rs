//! What callers do, and what the log says of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::audited::{Scribe, Told};
use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::store::tests::{Home, ready, record, turn};
use crate::store::{Accepted, Inserted, Store};

fn scribe(store: &Store) -> Scribe {
    Scribe::new(AuditLog::new(store.clone()), "token ci")
}

async fn lines(store: &Store) -> Vec<AuditLine> {
    store.audit_lines(AuditQuery::default()).await.unwrap()
}

/// The line that is last, without what differs every time.
async fn last(store: &Store) -> (String, String, Option<SessionId>, AuditDecision, Option<String>) {
    let line = lines(store).await.pop().unwrap();
    (line.actor, line.action, line.session, line.decision, line.rule)
}

#[tokio::test]
async fn what_was_done_has_a_line_before_it_is_answered() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let caller = scribe(&store);
    let done = caller
        .act("pause_session", Some(&session), async { Ok(7) }, |done| {
            Told::detail(done)
        })
        .await;
    assert_eq!(done.unwrap(), 7);
    let line = lines(&store).await.pop().unwrap();
    assert_eq!(
        (line.actor.as_str(), line.action.as_str(), line.session),
        ("token ci", "pause_session", Some(session))
    );
    assert_eq!(
        (line.decision, line.detail.as_deref()),
        (AuditDecision::Done, Some("7"))
    );
}

#[tokio::test]
async fn refusals_and_failures_are_told_apart_and_have_their_rule() {
    let home = Home::new();
    let store = home.open().await;
    let caller = scribe(&store);
    for (kind, decision) in [
        (ErrorKind::NotFound, AuditDecision::Refused),
        (ErrorKind::LimitExceeded, AuditDecision::Refused),
        (ErrorKind::EngineFailed, AuditDecision::Failed),
        (ErrorKind::Internal, AuditDecision::Failed),
    ] {
        let outcome: Result<()> = caller
            .act(
                "destroy_session",
                None,
                async {
                    Err(Error::new(kind, "destroy the session", "no")
                        .with_context("secret", "a value of the caller"))
                },
                Told::nothing,
            )
            .await;
        assert_eq!(outcome.unwrap_err().kind(), kind);
        assert_eq!(
            last(&store).await,
            (
                "token ci".to_owned(),
                "destroy_session".to_owned(),
                None,
                decision,
                Some(kind.code().to_owned())
            )
        );
        assert!(!format!("{:?}", lines(&store).await).contains("a value of the caller"));
    }
}

#[tokio::test]
async fn what_the_store_changes_has_one_line_in_its_transaction_with_the_callers_name() {
    let home = Home::new();
    let store = home.open().await;
    let caller = scribe(&store);
    let mut made = record();
    made.idempotency_key = Some("key".to_owned());
    let id = made.info.id;
    for _ in 0..2 {
        let (inner, record) = (store.clone(), made.clone());
        let inserted = caller
            .act(
                "create_session",
                None,
                async move { inner.insert_session(record).await },
                Told::nothing,
            )
            .await
            .unwrap();
        assert!(matches!(inserted, Inserted::New | Inserted::Existing(_)));
        assert_eq!(lines(&store).await.len(), 1, "a repeated request changes nothing");
    }
    assert_eq!(last(&store).await.2, Some(id));

    let session = ready(&store).await;
    let (inner, new) = (store.clone(), turn("x"));
    let accepted = caller
        .act(
            "prompt_agent",
            Some(&session),
            async move { inner.insert_turn(&session, new).await },
            Told::nothing,
        )
        .await
        .unwrap();
    assert!(matches!(accepted, Accepted::New(_)));
    let told = lines(&store).await;
    assert_eq!(told.len(), 2);
    assert!(
        told[1]
            .detail
            .as_deref()
            .is_some_and(|detail| detail.starts_with("turn "))
    );
    // Whoever acts for nobody leaves no line.
    store.insert_turn(&session, turn("y")).await.unwrap();
    assert_eq!(lines(&store).await.len(), 2);
}

#[tokio::test]
async fn what_was_made_and_then_failed_has_both_lines() {
    let home = Home::new();
    let store = home.open().await;
    let caller = scribe(&store);
    let (inner, made) = (store.clone(), record());
    let outcome: Result<()> = caller
        .act(
            "create_session",
            None,
            async move {
                inner.insert_session(made).await?;
                Err(Error::new(ErrorKind::EngineFailed, "create the session", "no"))
            },
            Told::nothing,
        )
        .await;
    outcome.unwrap_err();
    let told: Vec<_> = lines(&store)
        .await
        .into_iter()
        .map(|line| line.decision)
        .collect();
    assert_eq!(told, [AuditDecision::Done, AuditDecision::Failed]);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_acknowledged() {
    let home = Home::new();
    let store = home.open().await;
    let caller = scribe(&store);
    store.close().await;
    let times = AtomicUsize::new(0);
    let outcome = caller
        .act(
            "pause_session",
            None,
            async {
                times.fetch_add(1, Ordering::Relaxed);
                Ok(())
            },
            Told::nothing,
        )
        .await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(times.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn whoever_goes_away_before_the_answer_leaves_a_line() {
    let home = Home::new();
    let store = home.open().await;
    let caller = scribe(&store);
    let session = ready(&store).await;
    let forever = caller.act(
        "copy_in",
        Some(&session),
        std::future::pending::<Result<()>>(),
        Told::nothing,
    );
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(20), forever).await;
    assert!(given_up.is_err());
    for _ in 0..500 {
        if !lines(&store).await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(
        last(&store).await,
        (
            "token ci".to_owned(),
            "copy_in".to_owned(),
            Some(session),
            AuditDecision::Failed,
            Some("cancelled".to_owned())
        )
    );
}

#[tokio::test]
async fn whoever_is_turned_away_at_a_door_has_a_line() {
    let home = Home::new();
    let store = home.open().await;
    let log = AuditLog::new(store.clone());
    log.turned_away(
        "somebody at 127.0.0.1",
        "use_api",
        "token_wrong",
        Some("GET /v1/x\n".to_owned()),
    )
    .await
    .unwrap();
    assert_eq!(
        last(&store).await,
        (
            "somebody at 127.0.0.1".to_owned(),
            "use_api".to_owned(),
            None,
            AuditDecision::Refused,
            Some("token_wrong".to_owned())
        )
    );
}
