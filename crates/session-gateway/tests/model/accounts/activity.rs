//! What an agent's watcher can see at its model door.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use session_core::gateway::{DoorEvent, ModelFailure};
use session_gateway::model::Limits;

use super::{ByHand, START, document, piece, with};
use crate::forwarding::port_without_a_server;
use crate::support::{Fixture, Provider, json, prompt, read};

#[tokio::test]
async fn waiting_receiving_and_idling_are_told_apart() {
    let hand = ByHand::start().await;
    let fixture = Fixture::new(&hand.provider.base).await;
    let now = || fixture.proxy.activity(&fixture.session).unwrap();
    assert_eq!((now().under_way, now().silent_ms, now().idle_ms), (0, None, None));
    let mut body = fixture.send(prompt()).await.into_body();
    let answer = hand.next().await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(now().under_way, 1);
    assert!(now().silent_ms.unwrap() >= 50, "it waits for the provider");
    answer.say(START).await;
    piece(&mut body).await.unwrap();
    assert!(now().silent_ms.unwrap() < 50, "it receives");
    drop(answer);
    assert!(piece(&mut body).await.is_none());
    assert_eq!((now().under_way, now().silent_ms), (0, None));
    assert!(now().idle_ms.is_some());
    assert_eq!((now().failure, now().failures), (None, 0));
}

#[tokio::test]
async fn a_failure_is_an_event_when_it_starts_and_gone_when_it_ends() {
    let count = AtomicUsize::new(0);
    let provider = Provider::start(move |_| {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match nth {
                0..3 => json(529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#),
                3 => json(401, r#"{"type":"error","error":{"type":"authentication_error"}}"#),
                4 => json(
                    400,
                    r#"{"type":"error","error":{"type":"invalid_request_error"}}"#,
                ),
                _ => document(),
            }
        }
    })
    .await;
    let fixture = Fixture::new(&provider.base).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        read(fixture.send(prompt()).await).await;
        let now = fixture.proxy.activity(&fixture.session).unwrap();
        seen.push((now.failure, now.failures));
    }
    let (overloaded, unauthorized) = (Some(ModelFailure::Overloaded), Some(ModelFailure::Unauthorized));
    assert_eq!(
        seen[..4],
        [
            (overloaded, 1),
            (overloaded, 2),
            (overloaded, 3),
            (unauthorized, 4)
        ]
    );
    assert_eq!(seen[5], (None, 0));
    let failing = |failure| DoorEvent::ModelFailing { failure };
    assert_eq!(
        fixture.ledger.wait_for_events(2).await,
        [
            failing(ModelFailure::Overloaded),
            failing(ModelFailure::Unauthorized)
        ]
    );
}

#[tokio::test]
async fn each_way_to_fail_has_its_name() {
    let (_reserved, address) = port_without_a_server();
    let unreachable = Fixture::new(&format!("http://{address}").parse().unwrap()).await;
    let hand = ByHand::start().await;
    let stalls = with(&hand.provider.base, Default::default(), |config| {
        config.limits = Limits {
            stall_timeout: Duration::from_millis(50),
            ..Limits::default()
        };
    })
    .await;
    let silent = stalls.send(prompt()).await;
    let kept = hand.next().await;
    kept.say(START).await;
    let breaks = Fixture::new(&hand.provider.base).await;
    let broken = breaks.send(prompt()).await;
    hand.next().await.breaks().await;
    let overloads = Fixture::new(&hand.provider.base).await;
    let overloaded = overloads.send(prompt()).await;
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    hand.next()
        .await
        .say(format!("event: error\ndata: {error}\n\n"))
        .await;
    use http_body_util::BodyExt;
    for (fixture, answer, failure) in [
        (
            &unreachable,
            unreachable.send(prompt()).await,
            ModelFailure::Unreachable,
        ),
        (&stalls, silent, ModelFailure::Silent),
        (&breaks, broken, ModelFailure::Unreachable),
        (&overloads, overloaded, ModelFailure::Overloaded),
    ] {
        let _whole_or_not = answer.into_body().collect().await;
        let now = fixture.proxy.activity(&fixture.session).unwrap();
        assert_eq!((now.failure, now.failures), (Some(failure), 1));
        assert_eq!(
            fixture.ledger.wait_for_events(1).await,
            [DoorEvent::ModelFailing { failure }]
        );
    }
    drop(kept);
}
