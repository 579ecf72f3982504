//! Hosts that wait for a word, and the words: one row a rule, events where they belong, bounded.

use super::*;
use crate::egress::{DecideEgress, DenialReason, EgressDecision, HostRule};

fn denied(host: &str) -> EventKind {
    EventKind::EgressDenied {
        host: host.to_owned(),
        port: 443,
        reason: DenialReason::NotAllowed,
    }
}

async fn deny(store: &Store, session: &SessionId, host: &str) {
    store
        .record_at_door(session, denied(host), Some((host.to_owned(), 443)))
        .await
        .unwrap();
}

fn decision(session: Option<SessionId>, rule: &str, allow: bool) -> DecideEgress {
    DecideEgress {
        session,
        rule: rule.parse().unwrap(),
        allow,
    }
}

async fn hosts(store: &Store, session: Option<&SessionId>) -> Vec<String> {
    let requests = store.egress_requests(session).await.unwrap();
    requests.into_iter().map(|request| request.host).collect()
}

fn rules(decisions: &[EgressDecision]) -> Vec<(String, bool)> {
    decisions
        .iter()
        .map(|decision| (decision.rule.to_string(), decision.allow))
        .collect()
}

async fn last(store: &Store, session: &SessionId) -> EventKind {
    all_events(store, session).await.pop().unwrap().kind
}

#[tokio::test]
async fn a_denial_is_an_event_and_a_request_that_waits_once() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    for host in ["a.example", "b.example", "a.example"] {
        deny(&store, &session, host).await;
    }
    // What a person cannot change, and what no rule could allow, waits for nobody.
    store
        .record_at_door(&session, denied("c.example"), None)
        .await
        .unwrap();
    deny(&store, &session, "10.0.0.1").await;
    deny(&store, &session, "not a host").await;

    let waiting = store.egress_requests(Some(&session)).await.unwrap();
    assert_eq!(hosts(&store, None).await, ["a.example", "b.example"]);
    assert_eq!(waiting[0].times, 2);
    assert!(waiting[0].first_at < waiting[0].last_at);
    assert_eq!(waiting[0].session, session);
    assert_eq!(waiting[0].rule, HostRule::exact("a.example", 443).unwrap());
    let events = all_events(&store, &session).await;
    assert_numbered(&events);
    assert_eq!(events.len(), 1 + 6);
    assert_eq!(events[1].kind, denied("a.example"));
    let info = store.session(&session).await.unwrap().unwrap().info;
    assert_eq!(info.last_event, 7);
}

#[tokio::test]
async fn what_happens_at_a_door_belongs_to_the_turn_that_runs() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let queued = turn("work");
    store.insert_turn(&session, queued.clone()).await.unwrap();
    deny(&store, &session, "before.example").await;
    store
        .commit(&session, update(queued.id, TurnStatus::Running, None))
        .await
        .unwrap();
    deny(&store, &session, "during.example").await;
    let ended = update(queued.id, TurnStatus::Succeeded, Some(outcome(None)));
    store.commit(&session, ended).await.unwrap();
    deny(&store, &session, "after.example").await;
    let events = all_events(&store, &session).await;
    let turn_of = |host: &str| {
        events
            .iter()
            .find(|event| event.kind == denied(host))
            .unwrap()
            .turn
    };
    assert_eq!(turn_of("before.example"), None);
    assert_eq!(turn_of("during.example"), Some(queued.id));
    assert_eq!(turn_of("after.example"), None);
}

#[tokio::test]
async fn the_host_that_was_asked_for_longest_ago_goes_first() {
    let home = Home::new();
    let store = home.open().await;
    let (session, other) = (ready(&store).await, ready(&store).await);
    deny(&store, &other, "other.example").await;
    for number in 0..MAX_WAITING_HOSTS {
        deny(&store, &session, &format!("h{number}.example")).await;
    }
    deny(&store, &session, "h0.example").await;
    deny(&store, &session, "new.example").await;
    let waiting = hosts(&store, Some(&session)).await;
    assert_eq!(waiting.len(), MAX_WAITING_HOSTS);
    assert_eq!(waiting[..2], ["new.example", "h0.example"]);
    assert!(!waiting.contains(&"h1.example".to_owned()));
    assert_eq!(hosts(&store, Some(&other)).await, ["other.example"]);
}

#[tokio::test]
async fn a_decision_answers_what_its_rule_means_and_is_an_event_of_its_session() {
    let home = Home::new();
    let store = home.open().await;
    let (session, other) = (ready(&store).await, ready(&store).await);
    for host in ["a.x.example", "b.x.example", "x.example"] {
        deny(&store, &session, host).await;
        deny(&store, &other, host).await;
    }
    let asked = decision(Some(session), "*.x.example", true);
    let given = store.decide_egress(asked.clone()).await.unwrap();
    assert_eq!(given, asked.given(given.at));
    assert_eq!(hosts(&store, Some(&session)).await, ["x.example"]);
    assert_eq!(hosts(&store, Some(&other)).await.len(), 3);
    let decided = EventKind::EgressDecided {
        rule: asked.rule.clone(),
        allow: true,
        for_all: false,
    };
    assert_eq!(last(&store, &session).await, decided);
    assert_eq!(last(&store, &other).await, denied("x.example"));
    // Judged before it was decided, told after.
    deny(&store, &session, "late.x.example").await;
    assert_eq!(hosts(&store, Some(&session)).await, ["x.example"]);
}

#[tokio::test]
async fn a_decision_for_all_is_an_event_of_each_that_waited() {
    let home = Home::new();
    let store = home.open().await;
    let (one, two, idle) = (ready(&store).await, ready(&store).await, ready(&store).await);
    for session in [&one, &two] {
        deny(&store, session, "a.example").await;
        deny(&store, session, "b.a.example").await;
    }
    store
        .decide_egress(decision(None, "a.example", false))
        .await
        .unwrap();
    for session in [&one, &two] {
        let events = all_events(&store, session).await;
        assert_numbered(&events);
        assert!(matches!(
            events.last().unwrap().kind,
            EventKind::EgressDecided {
                allow: false,
                for_all: true,
                ..
            }
        ));
        assert_eq!(hosts(&store, Some(session)).await, ["b.a.example"]);
    }
    assert_eq!(all_events(&store, &idle).await.len(), 1);
    let decisions = store.egress_decisions(Some(&idle)).await.unwrap();
    assert_eq!(rules(&decisions), [("a.example".to_owned(), false)]);
    assert_eq!(decisions[0].session, None);
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_the_opposite_replaces_it() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let allow = decision(Some(session), "a.example", true);
    let first = store.decide_egress(allow.clone()).await.unwrap();
    store
        .decide_egress(decision(None, "a.example", true))
        .await
        .unwrap();
    let events = all_events(&store, &session).await.len();
    assert_eq!(store.decide_egress(allow).await.unwrap(), first);
    assert_eq!(all_events(&store, &session).await.len(), events);

    store
        .decide_egress(decision(Some(session), "a.example", false))
        .await
        .unwrap();
    let held = store.egress_decisions(Some(&session)).await.unwrap();
    assert_eq!(
        rules(&held),
        [("a.example".to_owned(), false), ("a.example".to_owned(), true)]
    );
    assert_eq!(held[0].session, Some(session));
    let other = ready(&store).await;
    assert_eq!(store.egress_decisions(Some(&other)).await.unwrap().len(), 1);
    assert_eq!(store.egress_decisions(None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn decisions_are_bounded() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    store
        .inner
        .write("fill", move |write| {
            let sql = "INSERT INTO egress_decision (session, rule, allow, at) VALUES (NULL, ?1, 1, 0)";
            for number in 0..MAX_DECISIONS {
                write
                    .connection
                    .prepare_cached(sql)?
                    .execute([format!("h{number}.example")])?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let more = store.decide_egress(decision(None, "more.example", true)).await;
    let error = more.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.hint().is_some());
    // What is known can still be changed, and another scope has room of its own.
    store
        .decide_egress(decision(None, "h0.example", false))
        .await
        .unwrap();
    store
        .decide_egress(decision(Some(session), "more.example", true))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_that_has_ended_waits_for_nothing_and_is_not_decided_about() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    deny(&store, &session, "a.example").await;
    store
        .commit(&session, state(SessionState::Destroyed))
        .await
        .unwrap();
    let events = all_events(&store, &session).await.len();
    deny(&store, &session, "b.example").await;
    assert!(hosts(&store, None).await.is_empty());
    let refused = store
        .decide_egress(decision(Some(session), "a.example", true))
        .await;
    assert_eq!(kind_of(refused), ErrorKind::StateConflict);
    store
        .decide_egress(decision(None, "a.example", true))
        .await
        .unwrap();
    assert_eq!(
        all_events(&store, &session).await.len(),
        events,
        "its log has ended"
    );
    let nobody = SessionId::new();
    let refused = store
        .decide_egress(decision(Some(nobody), "a.example", true))
        .await;
    assert_eq!(kind_of(refused), ErrorKind::NotFound);
    assert_eq!(
        kind_of(store.egress_requests(Some(&nobody)).await),
        ErrorKind::NotFound
    );
    let refused = store.record_at_door(&nobody, denied("a.example"), None).await;
    assert_eq!(kind_of(refused), ErrorKind::NotFound);
}
