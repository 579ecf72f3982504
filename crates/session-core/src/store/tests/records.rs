//! Sessions and turns: what is put in comes out, and what may not happen is refused and changes nothing.

use std::time::Duration;

use futures::FutureExt as _;
use secrecy::ExposeSecret as _;

use super::*;
use crate::state::StateName;

#[tokio::test]
async fn what_an_earlier_owner_of_the_agent_stores_is_refused_whole() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let first = store.take_agent(&session).await.unwrap().agent;
    let batch = |agent: &AgentRecord, offset, words| Batch {
        agent: Some(AgentRecord {
            offset,
            ..agent.clone()
        }),
        events: vec![(None, text(words))],
        ..Batch::default()
    };
    store.commit(&session, batch(&first, 10, "mine")).await.unwrap();
    let second = store.take_agent(&session).await.unwrap().agent;
    assert_eq!((second.offset, second.owner), (10, first.owner + 1));
    let late = store
        .commit(&session, batch(&first, 20, "too late"))
        .await
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Busy);
    store
        .commit(&session, batch(&second, 30, "mine now"))
        .await
        .unwrap();
    let record = store.session(&session).await.unwrap().unwrap();
    assert_eq!((record.agent.offset, record.agent.owner), (30, second.owner));
    let events = store.events(&session, EventQuery::default()).await.unwrap();
    assert!(!events.iter().any(|event| event.kind == text("too late")));
    let nobody = store.take_agent(&SessionId::new()).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_record_comes_out_as_it_went_in() {
    let home = Home::new();
    let store = home.open().await;
    let mut record = record();
    record.request_digest = Some("digest".into());
    record.agent.conversation = Some("conversation".into());
    record.agent.offset = 1 << 40;
    store.insert_session(record.clone()).await.unwrap();
    let read = home.open().await.session(&record.info.id).await.unwrap().unwrap();
    assert_eq!(read.info, record.info);
    assert_eq!(read.agent, record.agent);
    assert_eq!(read.container, record.container);
    assert_eq!(read.token.expose_secret(), record.token.expose_secret());
    assert_eq!(read.request_digest, record.request_digest);
    assert!(!format!("{read:?}").contains("the-session-token"));
    assert!(store.session(&SessionId::new()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_repeated_request_finds_its_session_and_another_one_is_refused() {
    let home = Home::new();
    let (one, other) = (home.open().await, home.open().await);
    let mut first = record();
    first.idempotency_key = Some("key".into());
    first.request_digest = Some("digest".into());
    let again = SessionRecord {
        info: record().info,
        ..first.clone()
    };
    let (a, b) = tokio::join!(one.insert_session(first), other.insert_session(again.clone()));
    let existing: Vec<_> = [a.unwrap(), b.unwrap()]
        .into_iter()
        .filter_map(|inserted| match inserted {
            Inserted::New => None,
            Inserted::Existing(record) => Some(record.info.id),
        })
        .collect();
    let stored = one.sessions(&SessionFilter::default()).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(existing, [stored[0].info.id]);

    let different = SessionRecord {
        request_digest: Some("another".into()),
        info: record().info,
        ..again
    };
    assert_eq!(
        kind_of(one.insert_session(different).await),
        ErrorKind::IdempotencyMismatch
    );
}

#[tokio::test]
async fn sessions_are_listed_newest_first_without_those_that_have_ended() {
    let home = Home::new();
    let store = home.open().await;
    let (failed, destroyed, interrupted, live) = (
        ready(&store).await,
        ready(&store).await,
        ready(&store).await,
        ready(&store).await,
    );
    let cause = crate::state::InterruptCause::OutOfMemory;
    for (id, to) in [
        (
            failed,
            SessionState::Failed {
                cause: "no image".into(),
            },
        ),
        (destroyed, SessionState::Destroyed),
        (interrupted, SessionState::Interrupted { cause }),
    ] {
        store.commit(&id, state(to)).await.unwrap();
    }
    let ids = |records: Vec<SessionRecord>| records.iter().map(|record| record.info.id).collect::<Vec<_>>();
    let mut filter = SessionFilter::default();
    assert_eq!(ids(store.sessions(&filter).await.unwrap()), [live, interrupted]);
    filter.all = true;
    assert_eq!(
        ids(store.sessions(&filter).await.unwrap()),
        [live, interrupted, destroyed, failed]
    );
    filter.labels.insert("team".into(), "blue".into());
    assert_eq!(store.sessions(&filter).await.unwrap().len(), 4);
    filter.labels.insert("team".into(), "red".into());
    assert_eq!(store.sessions(&filter).await.unwrap().len(), 0);
}

#[tokio::test]
async fn everything_in_a_batch_becomes_true_in_its_order() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let queued = store
        .insert_turn(&session, turn("hello"))
        .await
        .unwrap()
        .into_turn();
    let agent = AgentRecord {
        process: Some("agent-1".into()),
        offset: 10,
        conversation: None,
        stdin_key: 2,
        tools: vec!["Read".into()],
        owner: 0,
    };
    let started = Batch {
        state: Some(SessionState::Busy),
        expect_state: Some(StateName::Ready),
        agent: Some(agent.clone()),
        base_tree: Some("tree".into()),
        events: vec![(Some(queued.id), text("a"))],
        ..update(queued.id, TurnStatus::Running, None)
    };
    let first = store.commit(&session, started).await.unwrap();
    let ended = Batch {
        state: Some(SessionState::Ready),
        events: vec![(Some(queued.id), text("b"))],
        ..update(queued.id, TurnStatus::Succeeded, Some(outcome(Some(0.25))))
    };
    let second = store.commit(&session, ended).await.unwrap();

    let events = all_events(&store, &session).await;
    assert_numbered(&events);
    assert_eq!(events[2..5], first, "what was answered is what is stored");
    assert_eq!(events[5..], second);
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            EventKind::StateChanged {
                to: SessionState::Ready
            },
            EventKind::TurnQueued {
                prompt: "hello".into()
            },
            EventKind::TurnStarted,
            text("a"),
            EventKind::StateChanged {
                to: SessionState::Busy
            },
            text("b"),
            EventKind::TurnFinished {
                outcome: outcome(Some(0.25))
            },
            EventKind::StateChanged {
                to: SessionState::Ready
            },
        ]
    );
    let record = store.session(&session).await.unwrap().unwrap();
    assert_eq!(record.agent, agent);
    assert_eq!(record.base_tree.as_deref(), Some("tree"));
    assert_eq!(
        (record.info.turns, record.info.last_event, record.info.cost_usd),
        (1, 8, 0.25)
    );
    let turn = store.turn(&session, &queued.id).await.unwrap().unwrap();
    assert_eq!(
        (turn.status, turn.outcome),
        (TurnStatus::Succeeded, Some(outcome(Some(0.25))))
    );
}

#[tokio::test]
async fn a_state_that_another_process_changed_refuses_the_whole_batch() {
    let home = Home::new();
    let (one, other) = (home.open().await, home.open().await);
    let session = ready(&one).await;
    let batch = |to| Batch {
        expect_state: Some(StateName::Ready),
        state: Some(to),
        base_tree: Some("tree".into()),
        ..say(["x"])
    };
    let (a, b) = tokio::join!(
        one.commit(&session, batch(SessionState::Busy)),
        other.commit(&session, batch(SessionState::Paused))
    );
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");
    let loser = a.and(b).unwrap_err();
    assert_eq!(loser.kind(), ErrorKind::StateConflict);
    assert_eq!(all_events(&one, &session).await.len(), 3);
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let home = Home::new();
    let store = home.open().await;
    let missing = SessionId::new();
    assert_eq!(
        kind_of(store.commit(&missing, say(["x"])).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind_of(store.insert_turn(&missing, turn("x")).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind_of(store.events(&missing, EventQuery::default()).await),
        ErrorKind::NotFound
    );
    assert!(store.turns(&missing).await.unwrap().is_empty());

    let (session, other) = (ready(&store).await, ready(&store).await);
    let foreign = store.insert_turn(&other, turn("x")).await.unwrap().into_turn();
    assert!(store.turn(&session, &foreign.id).await.unwrap().is_none());
    let started = update(foreign.id, TurnStatus::Running, None);
    assert_eq!(
        kind_of(store.commit(&session, started).await),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn turns_run_in_order_one_at_a_time_and_end_once() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let limited = NewTurn {
        time_limit: Some(Duration::from_millis(1500)),
        ..turn("one")
    };
    let one = store.insert_turn(&session, limited).await.unwrap().into_turn();
    let two = store
        .insert_turn(&session, turn("two"))
        .await
        .unwrap()
        .into_turn();
    assert_eq!(one.time_limit_ms, Some(1500));
    assert_eq!(store.turns(&session).await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(store.next_queued_turn(&session).await.unwrap(), Some(one.clone()));
    assert_eq!(store.running_turn(&session).await.unwrap(), None);

    let start = |turn: &TurnInfo| {
        store
            .commit(&session, update(turn.id, TurnStatus::Running, None))
            .boxed_local()
    };
    let end = |turn: &TurnInfo, status| {
        let batch = update(turn.id, status, Some(outcome(Some(0.1))));
        store.commit(&session, batch).boxed_local()
    };
    start(&one).await.unwrap();
    assert_eq!(
        store.running_turn(&session).await.unwrap().map(|turn| turn.id),
        Some(one.id)
    );
    assert_eq!(
        store
            .next_queued_turn(&session)
            .await
            .unwrap()
            .map(|turn| turn.id),
        Some(two.id)
    );
    for refused in [start(&one), start(&two)] {
        assert_eq!(kind_of(refused.await), ErrorKind::StateConflict);
    }
    end(&one, TurnStatus::Failed).await.unwrap();
    for refused in [start(&one), end(&one, TurnStatus::Succeeded)] {
        assert_eq!(kind_of(refused.await), ErrorKind::StateConflict);
    }
    // One that never ran is taken back.
    end(&two, TurnStatus::Interrupted).await.unwrap();
    let statuses: Vec<_> = store
        .turns(&session)
        .await
        .unwrap()
        .into_iter()
        .map(|turn| (turn.status, turn.outcome.map(|outcome| outcome.status)))
        .collect();
    assert_eq!(
        statuses,
        [
            (TurnStatus::Failed, Some(TurnStatus::Failed)),
            (TurnStatus::Interrupted, Some(TurnStatus::Interrupted)),
        ]
    );
    for (status, outcome) in [
        (TurnStatus::Succeeded, None),
        (TurnStatus::Running, Some(outcome(None))),
        (TurnStatus::Queued, None),
    ] {
        let nonsense = store.commit(&session, update(one.id, status, outcome)).await;
        assert_eq!(kind_of(nonsense), ErrorKind::InvalidArgument);
    }
}

#[tokio::test]
async fn a_cost_that_is_no_number_counts_nothing() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    for cost in [f64::NAN, f64::INFINITY, 0.1, 0.2] {
        let queued = store.insert_turn(&session, turn("x")).await.unwrap().into_turn();
        let ended = update(queued.id, TurnStatus::Succeeded, Some(outcome(Some(cost))));
        store.commit(&session, ended).await.unwrap();
    }
    let record = store.session(&session).await.unwrap().unwrap();
    assert_eq!(record.info.cost_usd, 0.1 + 0.2);
}

/// Whoever takes a turn back that waits must not end one that another process has just started.
#[tokio::test]
async fn a_turn_that_was_started_meanwhile_is_not_ended_as_one_that_waits() {
    let home = Home::new();
    let (store, other) = (home.open().await, home.open().await);
    let session = ready(&store).await;
    let turn = store.insert_turn(&session, turn("x")).await.unwrap().into_turn();
    let taken_back = || Batch {
        expect_turn: Some(TurnStatus::Queued),
        ..update(turn.id, TurnStatus::Interrupted, Some(outcome(None)))
    };
    other
        .commit(&session, update(turn.id, TurnStatus::Running, None))
        .await
        .unwrap();
    let events = all_events(&store, &session).await;
    assert_eq!(
        kind_of(store.commit(&session, taken_back()).await),
        ErrorKind::StateConflict
    );
    assert_eq!(
        store.running_turn(&session).await.unwrap().map(|turn| turn.id),
        Some(turn.id)
    );
    assert_eq!(all_events(&store, &session).await, events);
}

#[tokio::test]
async fn a_repeated_prompt_finds_its_turn_and_another_one_is_refused() {
    let home = Home::new();
    let (one, other) = (home.open().await, home.open().await);
    let session = ready(&one).await;
    let keyed = |prompt| NewTurn {
        idempotency_key: Some("key".into()),
        ..turn(prompt)
    };
    let (a, b) = tokio::join!(
        one.insert_turn(&session, keyed("x")),
        other.insert_turn(&session, keyed("x"))
    );
    assert_eq!(a.unwrap().into_turn(), b.unwrap().into_turn());
    assert_eq!(one.turns(&session).await.unwrap().len(), 1);
    assert_eq!(
        kind_of(one.insert_turn(&session, keyed("y")).await),
        ErrorKind::IdempotencyMismatch
    );
    one.commit(&session, state(SessionState::Destroyed))
        .await
        .unwrap();
    let again = one.insert_turn(&session, keyed("x")).await.unwrap();
    assert!(matches!(again, Accepted::Existing(_)), "also after the end");
    let elsewhere = ready(&one).await;
    let new = one.insert_turn(&elsewhere, keyed("y")).await.unwrap();
    assert!(matches!(new, Accepted::New(_)), "a key is of one session");
}

#[tokio::test]
async fn no_more_turns_wait_than_may_and_none_for_a_session_that_cannot_work() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    for _ in 0..MAX_WAITING_TURNS {
        store.insert_turn(&session, turn("x")).await.unwrap();
    }
    let refused = store.insert_turn(&session, turn("x")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert!(refused.is_retryable());
    let next = store.next_queued_turn(&session).await.unwrap().unwrap();
    store
        .commit(&session, update(next.id, TurnStatus::Running, None))
        .await
        .unwrap();
    store.insert_turn(&session, turn("x")).await.unwrap();

    for unable in [
        SessionState::Creating,
        SessionState::Paused,
        SessionState::Destroying,
    ] {
        let session = ready(&store).await;
        store.commit(&session, state(unable)).await.unwrap();
        assert_eq!(
            kind_of(store.insert_turn(&session, turn("x")).await),
            ErrorKind::StateConflict
        );
    }
}

#[tokio::test]
async fn a_closed_store_says_so_and_holds_what_it_acknowledged() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let clone = store.clone();
    store.close().await;
    assert_eq!(
        kind_of(clone.commit(&session, say(["x"])).await),
        ErrorKind::Cancelled
    );
    assert_eq!(kind_of(clone.session(&session).await), ErrorKind::Cancelled);
    assert_eq!(all_events(&home.open().await, &session).await.len(), 1);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn a_replayed_event_equals_the_live_one(cost in proptest::num::f64::NORMAL, words in ".*", number: f64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let home = Home::new();
            let store = home.open().await;
            let session = ready(&store).await;
            let queued = store.insert_turn(&session, turn(&words)).await.unwrap().into_turn();
            let batch = Batch {
                events: vec![
                    (None, EventKind::AgentOther { raw: serde_json::json!({ "n": number, "w": words }) }),
                    (Some(queued.id), text(&words)),
                ],
                ..update(queued.id, TurnStatus::Succeeded, Some(outcome(Some(cost))))
            };
            let live = store.commit(&session, batch).await.unwrap();
            assert_eq!(all_events(&store, &session).await[2..], live);
        });
    }
}
