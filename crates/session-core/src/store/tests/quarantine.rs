//! Records that cannot be read: put aside one by one, told of, never taken for absent.

use super::*;
use crate::audit::AuditQuery;
use crate::checkpoint::{Checkpoint, CheckpointCause};
use crate::id::CheckpointId;

async fn others_are_well(store: &Store, well: SessionId) {
    let all = store.sessions(&SessionFilter::default()).await.unwrap();
    assert_eq!(
        all.iter().map(|record| record.info.id).collect::<Vec<_>>(),
        [well]
    );
    let listing = store.listing().await.unwrap();
    assert_eq!(listing.sessions().len(), 1);
    store.commit(&well, say(["still here"])).await.unwrap();
}

#[tokio::test]
async fn one_bad_record_spoils_no_list_and_is_put_aside_with_its_reason() {
    for (column, value) in [
        ("info", "no json"),
        ("info", "{}"),
        ("info", "{\"id\":\"nonsense\"}"),
        ("state", "{\"state\":\"from_the_future\"}"),
        ("state", ""),
        ("agent_tools", "["),
        ("expiry", "\"boredom\""),
    ] {
        let home = Home::new();
        let store = home.open().await;
        let (bad, well) = (ready(&store).await, ready(&store).await);
        store.commit(&bad, say(["something"])).await.unwrap();
        let sql = format!("UPDATE session SET {column} = ?1 WHERE id = ?2");
        raw(&home).execute(&sql, [value, &bad.to_string()]).unwrap();

        // Before anybody puts it aside, and by a process that came up after it went bad.
        let fresh = home.open().await;
        let listed = fresh.sessions(&SessionFilter::default()).await.unwrap();
        assert_eq!(listed.len(), 1, "{column} {value}");
        assert!(fresh.listing().await.unwrap().get(&well).is_some());
        fresh.commit(&well, say(["not hindered"])).await.unwrap();
        let standing = store.standing(&bad).await.unwrap();
        assert!(standing.may_have_container(), "{column} {value}");

        let aside = store.check_records().await.unwrap();
        assert_eq!(aside.len(), 1, "{column} {value}");
        assert_eq!(
            (aside[0].table.as_str(), aside[0].session),
            ("session", Some(bad))
        );
        assert!(!aside[0].reason.is_empty());
        assert!(aside[0].record.contains(&bad.to_string()));
        assert_eq!(store.quarantined().await.unwrap(), aside);
        assert_eq!(store.standing(&bad).await.unwrap(), Standing::Unreadable);
        others_are_well(&store, well).await;
        others_are_well(&home.open().await, well).await;
        assert!(store.session(&bad).await.unwrap().is_none());
        assert_eq!(kind_of(store.commit(&bad, say(["x"])).await), ErrorKind::NotFound);
        // It is told once.
        assert_eq!(store.check_records().await.unwrap(), []);
        let lines = store.audit_lines(AuditQuery::default()).await.unwrap();
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line.action == "quarantine_record")
            .collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].session, Some(bad));
        store.verify().await.unwrap();
    }
}

#[tokio::test]
async fn a_session_comes_back_whole_when_it_can_be_read_again() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    store.commit(&session, say(["a", "b"])).await.unwrap();
    let before = all_events(&store, &session).await;
    let file = raw(&home);
    file.execute_batch(
        "CREATE TABLE kept AS SELECT state FROM session; UPDATE session SET state = '{\"state\":\"new\"}'",
    )
    .unwrap();
    assert_eq!(store.check_records().await.unwrap().len(), 1);
    file.execute_batch("UPDATE session SET state = (SELECT state FROM kept)")
        .unwrap();
    assert_eq!(store.check_records().await.unwrap(), []);
    assert_eq!(store.quarantined().await.unwrap(), []);
    assert_eq!(all_events(&store, &session).await, before);
    store.commit(&session, say(["c"])).await.unwrap();
}

#[tokio::test]
async fn a_key_of_a_record_that_cannot_be_read_makes_no_second_session() {
    let home = Home::new();
    let store = home.open().await;
    let mut first = record();
    first.idempotency_key = Some("key".to_owned());
    store.insert_session(first.clone()).await.unwrap();
    raw(&home).execute("UPDATE session SET info = 'x'", []).unwrap();
    for _ in 0..2 {
        let mut again = record();
        again.idempotency_key = Some("key".to_owned());
        assert_eq!(kind_of(store.insert_session(again).await), ErrorKind::StoreFailed);
        store.check_records().await.unwrap();
    }
}

#[tokio::test]
async fn a_turn_that_cannot_be_read_is_put_aside_and_its_session_goes_on() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let asked = NewTurn {
        idempotency_key: Some("key".to_owned()),
        ..turn("bad")
    };
    let bad = store
        .insert_turn(&session, asked.clone())
        .await
        .unwrap()
        .into_turn();
    let well = store
        .insert_turn(&session, turn("well"))
        .await
        .unwrap()
        .into_turn();
    let begin = Batch {
        state: Some(SessionState::Busy),
        ..update(bad.id, TurnStatus::Running, None)
    };
    store.commit(&session, begin).await.unwrap();
    raw(&home)
        .execute(
            "UPDATE turn SET tools = 'no json' WHERE id = ?1",
            [bad.id.to_string()],
        )
        .unwrap();
    assert_eq!(kind_of(store.turns(&session).await), ErrorKind::StoreFailed);
    let aside = store.check_records().await.unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!(
        (aside[0].table.as_str(), aside[0].session),
        ("turn", Some(session))
    );
    let left = store.turns(&session).await.unwrap();
    assert_eq!(left.iter().map(|turn| turn.id).collect::<Vec<_>>(), [well.id]);
    let record = store.session(&session).await.unwrap().unwrap();
    assert_eq!(record.info.state, SessionState::Ready);
    let events = all_events(&store, &session).await;
    assert_numbered(&events);
    assert!(
        events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Problem { .. }))
    );
    // Its key is still taken: it may have been run, so it is not run again. The next one is.
    for _ in 0..2 {
        let again = store.insert_turn(&session, asked.clone()).await;
        assert_eq!(kind_of(again), ErrorKind::StoreFailed);
        assert_eq!(store.check_records().await.unwrap(), []);
    }
    assert_eq!(store.running_turn(&session).await.unwrap(), None);
    let begin = update(well.id, TurnStatus::Running, None);
    store.commit(&session, begin).await.unwrap();
    // Nobody waits for it any more, even if it could be read again.
    raw(&home).execute("UPDATE turn SET tools = '[]'", []).unwrap();
    assert_eq!(store.check_records().await.unwrap(), []);
    assert_eq!(store.turn(&session, &bad.id).await.unwrap(), None);
    raw(&home)
        .execute(
            "UPDATE turn SET status = 'failed' WHERE id = ?1",
            [bad.id.to_string()],
        )
        .unwrap();
    store.check_records().await.unwrap();
    assert!(store.turn(&session, &bad.id).await.unwrap().is_some());
    assert_eq!(store.quarantined().await.unwrap(), []);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_read_is_put_aside() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let checkpoint = |id| Checkpoint {
        id,
        session,
        turn: None,
        cause: CheckpointCause::Timer,
        at: Timestamp::UNIX_EPOCH,
        base: "base".to_owned(),
        sha256: "aa".repeat(32),
        bytes: 1,
        files: 1,
    };
    let (bad, well) = (CheckpointId::new(), CheckpointId::new());
    for id in [bad, well] {
        store.insert_checkpoint(checkpoint(id)).await.unwrap();
    }
    raw(&home)
        .execute(
            "UPDATE checkpoint SET cause = '\"whim\"' WHERE id = ?1",
            [bad.to_string()],
        )
        .unwrap();
    assert_eq!(store.check_records().await.unwrap().len(), 1);
    assert_eq!(store.checkpoints(&session).await.unwrap(), [checkpoint(well)]);
    assert_eq!(
        store.checkpoint(&session, None).await.unwrap(),
        Some(checkpoint(well))
    );
    // Its content is still wanted, whatever becomes of the others.
    let unwanted = store.delete_checkpoints(vec![bad, well]).await.unwrap();
    assert_eq!(unwanted, Vec::<String>::new());
    let wanted = store.checkpoint_contents().await.unwrap();
    assert!(wanted.contains(&"aa".repeat(32)));
    raw(&home)
        .execute("UPDATE checkpoint SET cause = '\"timer\"'", [])
        .unwrap();
    assert_eq!(store.check_records().await.unwrap(), []);
    assert_eq!(store.checkpoints(&session).await.unwrap(), [checkpoint(bad)]);
}

#[tokio::test]
async fn a_record_without_a_readable_id_may_be_anybodys() {
    let home = Home::new();
    let store = home.open().await;
    ready(&store).await;
    let nobody = SessionId::new();
    assert_eq!(store.standing(&nobody).await.unwrap(), Standing::Absent);
    raw(&home)
        .execute("UPDATE session SET id = 'garbage'", [])
        .unwrap();
    store.check_records().await.unwrap();
    assert_eq!(store.standing(&nobody).await.unwrap(), Standing::Unreadable);
}

/// Bytes that are no text, in any column: as one that says nonsense.
#[tokio::test]
async fn a_record_that_is_no_text_spoils_no_list_and_is_put_aside() {
    for column in [
        "id",
        "info",
        "state",
        "token",
        "request_digest",
        "agent_conversation",
        "agent_tools",
        "container_id",
        "expiry",
        "timers",
    ] {
        let home = Home::new();
        let store = home.open().await;
        let (bad, well) = (ready(&store).await, ready(&store).await);
        let sql = format!("UPDATE session SET {column} = CAST(x'7bff' AS TEXT) WHERE id = ?1");
        raw(&home).execute(&sql, [bad.to_string()]).unwrap();

        let fresh = home.open().await;
        let listed = fresh.sessions(&SessionFilter::default()).await.unwrap();
        assert!(listed.iter().any(|record| record.info.id == well), "{column}");
        assert!(fresh.listing().await.unwrap().get(&well).is_some(), "{column}");
        assert!(store.standing(&bad).await.unwrap().may_have_container());
        let aside = store.check_records().await.unwrap();
        assert_eq!(aside.len(), 1, "{column}");
        assert_eq!(store.standing(&bad).await.unwrap(), Standing::Unreadable);
        assert_eq!(store.quarantined().await.unwrap(), aside);
        others_are_well(&store, well).await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_no_text_stands_in_nobodys_way() {
    for column in ["id", "turn", "cause", "base", "sha256"] {
        let home = Home::new();
        let store = home.open().await;
        let session = ready(&store).await;
        let checkpoints = [CheckpointId::new(), CheckpointId::new(), CheckpointId::new()];
        for (number, id) in checkpoints.into_iter().enumerate() {
            let checkpoint = Checkpoint {
                id,
                session,
                turn: None,
                cause: CheckpointCause::Timer,
                at: Timestamp::UNIX_EPOCH,
                base: "base".to_owned(),
                sha256: format!("{number:064}"),
                bytes: 1,
                files: 1,
            };
            store.insert_checkpoint(checkpoint).await.unwrap();
        }
        let sql = format!("UPDATE checkpoint SET {column} = CAST(x'61ff' AS TEXT) WHERE id = ?1");
        raw(&home).execute(&sql, [checkpoints[0].to_string()]).unwrap();

        let well = async || {
            let listed = store.checkpoints(&session).await.unwrap();
            listed.iter().map(|found| found.id).collect::<Vec<_>>()
        };
        assert_eq!(well().await, [checkpoints[2], checkpoints[1]], "{column}");
        let wanted = store.checkpoint_contents().await.unwrap();
        assert!(wanted.contains(&format!("{:064}", 1)), "{column}");
        store.snapshot(&home.dir).unwrap();
        store
            .commit(&session, state(SessionState::Destroyed))
            .await
            .unwrap();
        let outlived = store.outlived_checkpoints(0, 0).await.unwrap();
        assert!(outlived.contains(&(checkpoints[2], session)), "{column}");
        assert_eq!(store.check_records().await.unwrap().len(), 1, "{column}");
        assert_eq!(well().await, [checkpoints[2], checkpoints[1]], "{column}");
        store.trim_all_checkpoints(1).await.unwrap();
        assert_eq!(well().await, [checkpoints[2]], "{column}");
    }
}

#[tokio::test]
async fn a_session_whose_turn_ended_while_it_could_not_be_read_works_on_nothing_when_it_is_back() {
    // With a turn that still runs it is as it was: whoever takes it up knows what to do.
    for (ended, expected) in [(true, SessionState::Ready), (false, SessionState::Busy)] {
        let home = Home::new();
        let store = home.open().await;
        let session = ready(&store).await;
        let runs = store.insert_turn(&session, turn("runs")).await.unwrap();
        let begin = Batch {
            state: Some(SessionState::Busy),
            ..update(runs.into_turn().id, TurnStatus::Running, None)
        };
        store.commit(&session, begin).await.unwrap();
        let file = raw(&home);
        file.execute_batch("CREATE TABLE kept AS SELECT info FROM session; UPDATE session SET info = 'x'")
            .unwrap();
        assert_eq!(store.check_records().await.unwrap().len(), 1);
        if ended {
            file.execute("UPDATE turn SET status = 'failed'", []).unwrap();
        }
        file.execute("UPDATE session SET info = (SELECT info FROM kept)", [])
            .unwrap();
        assert_eq!(store.check_records().await.unwrap(), []);
        let record = store.session(&session).await.unwrap().unwrap();
        assert_eq!(record.info.state, expected);
        assert_numbered(&all_events(&store, &session).await);
        store.verify().await.unwrap();
    }
}
