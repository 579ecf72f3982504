//! Stores that older versions left behind: everything in them comes forward, and what is new works on it.

use super::*;
use crate::budget::Spending;
use crate::egress::DecideEgress;

/// A file as that version made it, with what it had of a session.
fn older(home: &Home, session: &SessionId, version: i64) {
    let schemas = [include_str!("../schema_v1.sql"), include_str!("../schema_v2.sql")];
    home.dir
        .create_store(|draft| {
            let file = Connection::open(draft).unwrap();
            file.pragma_update(None, "application_id", 0x4366_7264).unwrap();
            // Each row as the version that brought its table wrote it.
            for (schema, brings) in schemas.iter().zip(1..=version) {
                file.execute_batch(schema).unwrap();
                match brings {
                    1 => fill_v1(&file, session),
                    _ => fill_v2(&file),
                }
            }
            file.pragma_update(None, "user_version", version).unwrap();
            file.pragma_update(None, "journal_mode", "WAL").unwrap();
            Ok(())
        })
        .unwrap();
}

fn fill_v1(file: &Connection, session: &SessionId) {
    let info = format!(
        r#"{{"id":"{session}","state":"creating","created_at":"2025-01-01T00:00:00Z",
        "updated_at":"2025-01-01T00:00:00Z","image":"some:image","network":"sealed",
        "limits":{{"memory_bytes":1,"milli_cpus":1,"pids":1}},
        "workspace":{{"kind":"empty"}},"user":{{"uid":1000,"gid":1000}},"agent":"claude","turns":0,
        "last_event":0,"cost_usd":0.0}}"#
    );
    file.execute(
        "INSERT INTO session VALUES (1, ?1, ?2, '{\"state\":\"busy\"}', 0, 5, 2, 2, 0.25, 'token', 'digest', 'key',
            'agent', 7, 'talk', 2, '[]', 1, 'tree')",
        [session.to_string(), info],
    )
    .unwrap();
    file.execute_batch(
        r#"INSERT INTO turn VALUES
            (1, 1, '11111111-1111-4111-8111-111111111111', 'running', 'hello', NULL, '[]', NULL, 1, 5, NULL),
            (2, 1, '22222222-2222-4222-8222-222222222222', 'queued', 'next', 'turn-key', '["Read"]', 9, 2, 6, NULL);
        INSERT INTO event VALUES
            (1, 1, 5, '11111111-1111-4111-8111-111111111111', '{"event":"turn_queued","prompt":"hello"}'),
            (1, 2, 6, '22222222-2222-4222-8222-222222222222', '{"event":"turn_queued","prompt":"next"}');"#,
    )
    .unwrap();
}

fn fill_v2(file: &Connection) {
    file.execute_batch(
        "INSERT INTO spending VALUES (1, 1, 2, 3, 4, 5, 6, 7);
        INSERT INTO spending_of_day VALUES (20000, 1, 2, 3, 4, 5, 6, 7);
        INSERT INTO egress_decision VALUES (1, 1, 'a.example', 1, 5), (2, NULL, 'b.example', 0, 6);
        INSERT INTO egress_request VALUES (1, 'c.example', 443, 5, 6, 2);",
    )
    .unwrap();
}

#[tokio::test]
async fn everything_in_a_store_of_any_older_version_comes_forward() {
    for version in [1, 2] {
        let home = Home::new();
        let session = SessionId::new();
        older(&home, &session, version);
        let store = home.open().await;
        let reached: i64 = raw(&home)
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(reached, 3);
        store.verify().await.unwrap();
        assert_eq!(store.check_records().await.unwrap(), [], "all of it can be read");

        let record = store.session(&session).await.unwrap().unwrap();
        assert_eq!(record.info.state, SessionState::Busy);
        assert_eq!((record.info.last_event, record.info.turns), (2, 2));
        assert_eq!(record.agent.conversation.as_deref(), Some("talk"));
        assert_eq!(record.base_tree.as_deref(), Some("tree"));
        assert_eq!((record.container_id, record.boot_id), (None, None));
        assert_eq!(record.recovery, RecoveryRecord::default());
        assert_eq!((record.timers, record.filling), (None, false));
        assert_eq!((record.expiry, record.info.lease_until), (None, None));
        let turns = store.turns(&session).await.unwrap();
        let found: Vec<_> = turns
            .iter()
            .map(|turn| (turn.status, turn.prompt.as_str()))
            .collect();
        assert_eq!(
            found,
            [(TurnStatus::Running, "hello"), (TurnStatus::Queued, "next")]
        );
        assert_eq!(turns[1].tools, ["Read"]);
        let spent = store.spent(Some(&session)).await.unwrap().session;
        let expected = if version > 1 { 6 } else { 0 };
        assert_eq!(spent.cost_microusd, expected);
        let decisions = store.egress_decisions(Some(&session)).await.unwrap();
        assert_eq!(decisions.len(), if version > 1 { 2 } else { 0 });
        let waiting = store.egress_requests(None).await.unwrap();
        assert_eq!(waiting.len(), if version > 1 { 1 } else { 0 });
        what_is_new_works(&store, &session).await;
        assert_numbered(&all_events(&store, &session).await);
    }
}

async fn what_is_new_works(store: &Store, session: &SessionId) {
    store.charge(session, Spending::default()).await.unwrap();
    let rule = "d.example".parse().unwrap();
    store
        .decide_egress(DecideEgress {
            session: Some(*session),
            rule,
            allow: true,
        })
        .await
        .unwrap();
    let until = Timestamp::from_second(4_000_000_000).unwrap();
    let recovery = RecoveryRecord {
        attempts: 3,
        not_before: Some(until),
    };
    let batch = Batch {
        container_id: Some("engine-id".to_owned()),
        boot_id: Some("boot".to_owned()),
        recovery: Some(recovery),
        filling: Some(true),
        lease_until: Some(until),
        expiry: Some(crate::lifetime::ExpiryCause::Idle),
        ..Batch::default()
    };
    store.commit(session, batch).await.unwrap();
    let timers = "what they counted".to_owned();
    store
        .save_timers(vec![
            (*session, timers.clone()),
            (SessionId::new(), timers.clone()),
        ])
        .await
        .unwrap();
    // What a change does not name stays as it is.
    store.commit(session, say(["more"])).await.unwrap();
    let record = store.session(session).await.unwrap().unwrap();
    assert_eq!(record.container_id.as_deref(), Some("engine-id"));
    assert_eq!(record.boot_id.as_deref(), Some("boot"));
    assert_eq!(
        (record.recovery, record.timers, record.expiry),
        (recovery, Some(timers), Some(crate::lifetime::ExpiryCause::Idle))
    );
    assert_eq!((record.filling, record.info.lease_until), (true, Some(until)));
    let listing = store.listing().await.unwrap();
    assert_eq!(listing.get(session).unwrap().lease_until, Some(until));
    assert_eq!(store.verify_audit().await.unwrap().broken_at, None);
    store
        .set_meta("a fact", Some("its value".to_owned()))
        .await
        .unwrap();
    assert_eq!(store.meta("a fact").await.unwrap().as_deref(), Some("its value"));
    store.set_meta("a fact", None).await.unwrap();
    assert_eq!(store.meta("a fact").await.unwrap(), None);
    assert_eq!(store.restored_from().await.unwrap(), None);
}
