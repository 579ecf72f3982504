//! A provider's places are shared by sessions, one turn after another.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use session_core::budget::Budget;
use session_gateway::model::{ModelProxyConfig, Sharing};

use super::{ByHand, START, document, neighbour, until, with};
use crate::support::{Fixture, Provider, connect, error_of, prompt, read};

fn shared(concurrency: usize, change: impl FnOnce(&mut Sharing)) -> impl FnOnce(&mut ModelProxyConfig) {
    let mut sharing = Sharing {
        concurrency: NonZeroUsize::new(concurrency).unwrap(),
        ..Sharing::default()
    };
    change(&mut sharing);
    move |config| config.sharing = sharing
}

/// Begins a request and returns once it waits or went out.
async fn begin(fixture: &Fixture) -> tokio::task::JoinHandle<u16> {
    let before = fixture.proxy.activity(&fixture.session).unwrap();
    let mut connection = fixture.connect().await;
    let task = tokio::spawn(async move {
        let answer = connection.send_request(prompt()).await.unwrap();
        let status = answer.status().as_u16();
        read(answer).await;
        status
    });
    until(|| {
        let now = fixture.proxy.activity(&fixture.session).unwrap();
        (now.under_way, now.queued) != (before.under_way, before.queued)
    })
    .await;
    task
}

#[tokio::test]
async fn a_session_with_many_requests_does_not_keep_another_from_its_turn() {
    let hand = ByHand::start().await;
    let greedy = with(&hand.provider.base, Budget::default(), shared(1, |_| {})).await;
    let modest = neighbour(&greedy, Budget::default()).await;
    let mut greedy_tasks = Vec::new();
    for _ in 0..5 {
        greedy_tasks.push(begin(&greedy).await);
    }
    let modest_task = begin(&modest).await;
    let first = hand.next().await;
    let waiting = (
        greedy.proxy.activity(&greedy.session).unwrap().queued,
        greedy.proxy.activity(&modest.session).unwrap().queued,
    );
    assert_eq!(waiting, (4, 1));
    assert_eq!(hand.at_once.load(Ordering::SeqCst), 1);
    // One of the greedy session's waits longer, and then it is the other's turn.
    first.say(START).await;
    drop(first);
    let second = hand.next().await;
    second.say(START).await;
    drop(second);
    hand.next().await.say(START).await;
    assert_eq!(modest_task.await.unwrap(), 200);
    assert!(hand.at_once.load(Ordering::SeqCst) <= 4);
    for _ in 0..3 {
        hand.next().await.say(START).await;
    }
    for task in greedy_tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn who_waits_too_long_or_in_too_great_a_number_is_told_to_come_back() {
    let hand = ByHand::start().await;
    let short = |sharing: &mut Sharing| {
        sharing.max_waiting = 1;
        sharing.max_wait = Duration::from_millis(300);
    };
    let fixture = with(&hand.provider.base, Budget::default(), shared(1, short)).await;
    let _first = begin(&fixture).await;
    let answer = hand.next().await;
    let waits = begin(&fixture).await;
    for code in ["queue_full", "queue_timeout"] {
        let refused = fixture.send(prompt()).await;
        assert_eq!(refused.headers()["x-cofferdam-refusal"], code);
        assert_eq!(refused.headers()["x-should-retry"], "true");
        assert!(refused.headers().contains_key("retry-after"));
        let (status, kind, _) = error_of(refused).await;
        assert_eq!((status, kind.as_str()), (429, "rate_limit_error"));
        if code == "queue_full" {
            break;
        }
    }
    assert_eq!(waits.await.unwrap(), 429);
    assert_eq!(hand.seen(), 1);
    answer.say(START).await;
    drop(answer);
}

#[tokio::test]
async fn a_request_that_is_given_up_while_it_waits_never_goes_out() {
    let hand = ByHand::start().await;
    let fixture = with(&hand.provider.base, Budget::default(), shared(1, |_| {})).await;
    let first = begin(&fixture).await;
    let answer = hand.next().await;
    let neighbour = neighbour(&fixture, Budget::default()).await;
    let waits = begin(&neighbour).await;
    // The container goes, and its connections with it.
    neighbour.proxy.dismiss(&neighbour.session).await;
    assert!(waits.await.is_err());
    answer.say(START).await;
    drop(answer);
    assert_eq!(first.await.unwrap(), 200);
    let again = begin(&fixture).await;
    hand.next().await.say(START).await;
    assert_eq!(again.await.unwrap(), 200);
    assert_eq!(hand.seen(), 2);
    assert!(neighbour.ledger.charges().is_empty(), "it used nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_at_once_are_whole_and_charged() {
    const STREAMS: usize = 200;
    let hand = ByHand::start().await;
    let fixture = Fixture::new(&hand.provider.base).await;
    let mut sessions = vec![fixture];
    while sessions.len() < 10 {
        let next = neighbour(&sessions[0], Budget::default()).await;
        sessions.push(next);
    }
    let reading = (0..STREAMS).map(|at| {
        let stream = sessions[at % sessions.len()].dial();
        tokio::spawn(async move {
            let mut connection = connect(stream).await;
            read(connection.send_request(prompt()).await.unwrap()).await
        })
    });
    let reading: Vec<_> = reading.collect();
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        answers.push(hand.next().await);
    }
    let under_way: u32 = sessions
        .iter()
        .map(|session| session.proxy.activity(&session.session).unwrap().under_way)
        .sum();
    assert_eq!(under_way, 200, "all at once");
    join_all(answers.iter().map(|answer| answer.say(START))).await;
    join_all(
        answers
            .iter()
            .map(|answer| answer.say("data: {\"type\":\"message_stop\"}\n\n")),
    )
    .await;
    drop(answers);
    for task in reading {
        let body = task.await.unwrap();
        assert!(body.starts_with(START.as_bytes()) && body.ends_with(b"\"message_stop\"}\n\n"));
    }
    let charged: u64 = sessions
        .iter()
        .map(|session| session.ledger.total().requests)
        .sum();
    assert_eq!(charged, 200);
}

#[tokio::test]
async fn a_place_is_free_again_when_its_answer_is_over() {
    let provider = Provider::start(async |_| document()).await;
    let fixture = with(&provider.base, Budget::default(), shared(1, |_| {})).await;
    for _ in 0..5 {
        read(fixture.send(prompt()).await).await;
    }
    assert_eq!(provider.seen().len(), 5);
}
