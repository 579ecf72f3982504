//! The audit log: whole as it is written, and never silently anything else.

use super::*;
use crate::audit::{AuditDecision, AuditEntry, AuditLine, AuditQuery};

fn entry(action: &str, detail: Option<&str>) -> AuditEntry {
    AuditEntry {
        actor: "socket uid 1000".to_owned(),
        action: action.to_owned(),
        session: None,
        decision: AuditDecision::Done,
        rule: None,
        detail: detail.map(str::to_owned),
    }
}

async fn lines(store: &Store) -> Vec<AuditLine> {
    store.audit_lines(AuditQuery::default()).await.unwrap()
}

async fn write(store: &Store, count: usize) {
    for number in 0..count {
        store
            .audit(entry("do_something", Some(&number.to_string())))
            .await
            .unwrap();
    }
}

async fn broken_at(store: &Store) -> Option<u64> {
    store.verify_audit().await.unwrap().broken_at
}

#[tokio::test]
async fn lines_are_numbered_and_read_from_either_end_and_by_session() {
    let home = Home::new();
    let store = home.open().await;
    let session = SessionId::new();
    write(&store, 3).await;
    let of_session = AuditEntry {
        session: Some(session),
        rule: Some("not_allowed".to_owned()),
        decision: AuditDecision::Refused,
        ..entry("connect_host", Some("a.example:443"))
    };
    let stored = store.audit(of_session).await.unwrap();
    write(&store, 2).await;
    let all = lines(&store).await;
    assert_eq!(
        all.iter().map(|line| line.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(all[3], stored);
    let query = |query: AuditQuery| store.audit_lines(query);
    let tail = AuditQuery {
        limit: 2,
        tail: true,
        ..AuditQuery::default()
    };
    assert_eq!(query(tail).await.unwrap(), all[4..]);
    let after = AuditQuery {
        after: 1,
        limit: 2,
        ..AuditQuery::default()
    };
    assert_eq!(query(after).await.unwrap(), all[1..3]);
    let only = AuditQuery {
        session: Some(session),
        ..AuditQuery::default()
    };
    assert_eq!(query(only).await.unwrap(), [stored]);
    let verdict = store.verify_audit().await.unwrap();
    assert_eq!((verdict.lines, verdict.broken_at), (6, None));
}

#[tokio::test]
async fn whatever_was_put_into_a_line_it_stays_one_line_of_bounded_length() {
    let home = Home::new();
    let store = home.open().await;
    let hostile = "a\nb\r\u{1b}[2Jc\u{202e}d\u{2028}e\u{200b}f\\n\u{0}";
    store.audit(entry("x", Some(hostile))).await.unwrap();
    let long = "\n".repeat(100_000);
    store
        .audit(AuditEntry {
            actor: long.clone(),
            rule: Some(long.clone()),
            ..entry(&long, Some(&long))
        })
        .await
        .unwrap();
    let all = lines(&store).await;
    assert_eq!(
        all[0].detail.as_deref(),
        Some(r"a\u{a}b\u{d}\u{1b}[2Jc\u{202e}d\u{2028}e\u{200b}f\\n\u{0}")
    );
    let line = serde_json::to_string(&all[1]).unwrap();
    assert!(line.len() < 4096, "{}", line.len());
    assert!(!line.chars().any(char::is_control));
    assert_eq!(broken_at(&store).await, None);
}

#[tokio::test]
async fn every_change_to_every_field_of_every_line_is_found() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    write(&store, 2).await;
    store
        .audit(AuditEntry {
            session: Some(session),
            rule: Some("rule".into()),
            ..entry("x", Some("y"))
        })
        .await
        .unwrap();
    let file = raw(&home);
    for seq in 1..=3 {
        for change in [
            "at = at + 1",
            "actor = actor || 'x'",
            "action = 'other'",
            "session = 'nobody'",
            "session = '00000000-0000-0000-0000-000000000000'",
            "decision = '\"refused\"'",
            "decision = 'nonsense'",
            "rule = coalesce(rule, '') || 'x'",
            "detail = ''",
            "hash = upper(hash)",
            "seq = seq + 100",
        ] {
            file.execute_batch(&format!(
                "CREATE TEMP TABLE before AS SELECT * FROM audit; UPDATE audit SET {change} WHERE seq = {seq};"
            ))
            .unwrap();
            let found = broken_at(&store).await;
            assert!(
                found.is_some_and(|at| at <= seq + 1),
                "{change} of {seq}: {found:?}"
            );
            file.execute_batch(
                "DELETE FROM audit; INSERT INTO audit SELECT * FROM before; DROP TABLE before;",
            )
            .unwrap();
        }
        assert_eq!(broken_at(&store).await, None);
    }
}

#[tokio::test]
async fn lines_that_are_gone_are_missed_wherever_they_were_also_after_more_were_written() {
    for (gone, at) in [("seq = 1", 1), ("seq = 3", 3), ("seq > 3", 4), ("seq > 0", 1)] {
        let home = Home::new();
        let store = home.open().await;
        write(&store, 5).await;
        raw(&home)
            .execute(&format!("DELETE FROM audit WHERE {gone}"), [])
            .unwrap();
        assert_eq!(broken_at(&store).await, Some(at), "{gone}");
        store.close().await;
        // Neither opening it again nor what is written then covers it up.
        let store = home.open().await;
        write(&store, 7).await;
        assert!(broken_at(&store).await.is_some(), "{gone}");
        let session = ready(&store).await;
        store
            .commit(&session, state(SessionState::Destroyed))
            .await
            .unwrap();
        assert!(broken_at(&store).await.is_some(), "{gone}");
    }
}

#[tokio::test]
async fn a_log_that_was_written_anew_is_found_out() {
    let (home, other) = (Home::new(), Home::new());
    let (store, forged) = (home.open().await, other.open().await);
    write(&store, 4).await;
    write(&forged, 6).await;
    forged.close().await;
    let file = raw(&home);
    file.execute("ATTACH ?1 AS forged", [other.dir.store_path().to_str().unwrap()])
        .unwrap();
    file.execute_batch("DELETE FROM main.audit; INSERT INTO main.audit SELECT * FROM forged.audit;")
        .unwrap();
    assert_eq!(broken_at(&store).await, Some(4));
    // Its anchor does not help: it was signed with another key.
    std::fs::copy(
        other.dir.path().join("audit.head"),
        home.dir.path().join("audit.head"),
    )
    .unwrap();
    assert_eq!(broken_at(&home.open().await).await, Some(7));
    std::fs::remove_file(home.dir.path().join("audit.head")).unwrap();
    let again = home.open().await;
    write(&again, 1).await;
    assert_eq!(broken_at(&again).await, Some(8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_write_one_chain() {
    let home = Home::new();
    let mut writing = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = home.open().await;
        writing.spawn(async move {
            for number in 0..50 {
                store
                    .audit(entry("do_something", Some(&number.to_string())))
                    .await
                    .unwrap();
                if number % 10 == 0 {
                    assert_eq!(broken_at(&store).await, None);
                }
            }
        });
    }
    writing.join_all().await;
    let verdict = home.open().await.verify_audit().await.unwrap();
    assert_eq!((verdict.lines, verdict.broken_at), (200, None));
}

#[tokio::test]
async fn a_refused_change_leaves_no_line_and_a_made_one_has_it_in_its_transaction() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let before = lines(&store).await.len();
    let batch = Batch {
        audit: vec![entry("pause_session", None)],
        expect_state: Some(crate::state::StateName::Paused),
        ..state(SessionState::Paused)
    };
    assert_eq!(
        kind_of(store.commit(&session, batch.clone()).await),
        ErrorKind::StateConflict
    );
    assert_eq!(lines(&store).await.len(), before);
    let batch = Batch {
        expect_state: None,
        ..batch
    };
    store.commit(&session, batch).await.unwrap();
    assert_eq!(lines(&store).await.last().unwrap().action, "pause_session");
    assert_eq!(broken_at(&store).await, None);
}

#[tokio::test]
async fn what_becomes_of_a_session_and_is_denied_at_its_doors_is_in_the_log() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let denied = EventKind::EgressDenied {
        host: "evil.example".to_owned(),
        port: 443,
        reason: crate::egress::DenialReason::NotAllowed,
    };
    store.record_at_door(&session, denied, None).await.unwrap();
    let cause = crate::state::InterruptCause::OutOfMemory;
    store
        .commit(&session, state(SessionState::Interrupted { cause }))
        .await
        .unwrap();
    store
        .commit(&session, state(SessionState::Destroyed))
        .await
        .unwrap();
    let told: Vec<_> = lines(&store)
        .await
        .into_iter()
        .map(|line| {
            assert_eq!(line.session, Some(session));
            (line.actor, line.action, line.decision, line.rule, line.detail)
        })
        .collect();
    let line = |actor: &str, action: &str, decision, rule: Option<&str>, detail: Option<&str>| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (
            actor.to_owned(),
            action.to_owned(),
            decision,
            owned(rule),
            owned(detail),
        )
    };
    assert_eq!(
        told,
        [
            line(
                "session",
                "connect_host",
                AuditDecision::Refused,
                Some("not_allowed"),
                Some("evil.example:443")
            ),
            line(
                "cofferdam",
                "lose_session",
                AuditDecision::Failed,
                Some("out_of_memory"),
                None
            ),
            line("cofferdam", "remove_session", AuditDecision::Done, None, None),
        ]
    );
}
