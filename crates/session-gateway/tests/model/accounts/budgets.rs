//! Budgets end what they should, in words that the agent understands, and not much later than they should.

use std::time::Duration;

use futures::future::join_all;
use session_core::budget::{Budget, BudgetLimit};
use session_core::gateway::DoorEvent;

use super::{ANSWER_COSTS, ByHand, START, agree, document, neighbour, until, with};
use crate::support::{Provider, error_of, prompt, read};

fn requests(limit: u64) -> Budget {
    Budget {
        requests: Some(limit),
        ..Budget::default()
    }
}

fn cost(limit: u64) -> Budget {
    Budget {
        cost_microusd: Some(limit),
        ..Budget::default()
    }
}

#[tokio::test]
async fn a_spent_budget_is_said_once_for_all_and_not_retried() {
    let provider = Provider::start(async |_| document()).await;
    let fixture = with(&provider.base, cost(ANSWER_COSTS), |_| {}).await;
    read(fixture.send(prompt()).await).await;
    for _ in 0..3 {
        let refused = fixture.send(prompt()).await;
        assert_eq!(refused.headers()["x-should-retry"], "false");
        assert_eq!(refused.headers()["x-cofferdam-refusal"], "budget_spent");
        let (status, kind, message) = error_of(refused).await;
        assert_eq!((status, kind.as_str()), (402, "billing_error"));
        assert!(
            message.contains("this session's budget of 1.00 US dollars is spent"),
            "{message}"
        );
        assert!(message.contains("raises the budget"), "{message}");
    }
    assert_eq!(provider.seen().len(), 1);
    let spent = DoorEvent::BudgetSpent {
        limit: BudgetLimit::Cost,
        today: false,
    };
    assert_eq!(
        fixture.ledger.wait_for_events(1).await,
        std::slice::from_ref(&spent)
    );

    // A higher limit lets it go on, at once; when that is spent too, it is said again.
    let raised = cost(2 * ANSWER_COSTS);
    agree(&fixture.proxy, fixture.session, raised, &fixture.ledger).await;
    read(fixture.send(prompt()).await).await;
    assert_eq!(error_of(fixture.send(prompt()).await).await.0, 402);
    assert_eq!(fixture.ledger.wait_for_events(2).await, [spent.clone(), spent]);
}

#[tokio::test]
async fn every_kind_of_limit_ends_it() {
    let provider = Provider::start(async |_| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        document()
    })
    .await;
    let none = Budget::default();
    for (budget, words) in [
        (cost(1), "0.00 US dollars"),
        (requests(1), "1 request "),
        (
            Budget {
                tokens: Some(200_000),
                ..none
            },
            "200000 tokens",
        ),
        (
            Budget {
                model_ms: Some(20),
                ..none
            },
            "with the model",
        ),
    ] {
        let fixture = with(&provider.base, budget, |_| {}).await;
        read(fixture.send(prompt()).await).await;
        let (status, _, message) = error_of(fixture.send(prompt()).await).await;
        assert_eq!(status, 402);
        assert!(message.contains(words), "{message}");
    }
    let fixture = with(&provider.base, none, |config| config.session_budget = requests(1)).await;
    read(fixture.send(prompt()).await).await;
    assert_eq!(
        error_of(fixture.send(prompt()).await).await.0,
        402,
        "the proxy's own"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_do_not_pass_a_limit_of_requests() {
    let provider = Provider::start(async |_| document()).await;
    let fixture = with(&provider.base, requests(5), |_| {}).await;
    let answers = join_all((0..30).map(async |_| {
        let answer = fixture.send(prompt()).await;
        let status = answer.status().as_u16();
        read(answer).await;
        status
    }))
    .await;
    assert_eq!(provider.seen().len(), 5);
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 5);
    assert_eq!(answers.iter().filter(|status| **status == 402).count(), 25);
    assert_eq!(fixture.ledger.total().requests, 5);
}

#[tokio::test]
async fn near_the_end_of_a_budget_requests_go_one_after_another() {
    let hand = ByHand::start().await;
    // Room for two and a half requests, once it is known how great they are.
    let fixture = with(&hand.provider.base, cost(ANSWER_COSTS * 7 / 2), |_| {}).await;
    let first = fixture.send(prompt()).await;
    hand.next().await.say(START).await;
    read(first).await;
    let waiting: Vec<_> = (0..4).map(|_| tokio::spawn(one(fixture.dial()))).collect();
    // What is under way is held against the budget at what the first one cost, so the third of these has to wait.
    let (second, third, fourth) = (hand.next().await, hand.next().await, hand.next().await);
    until(|| fixture.proxy.activity(&fixture.session).unwrap().queued == 1).await;
    assert_eq!(hand.seen(), 4);
    for answer in [second, third, fourth] {
        answer.say(START).await;
    }
    let mut statuses = Vec::new();
    for task in waiting {
        statuses.push(task.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 402]);
    assert!(fixture.ledger.total().cost_microusd < 4_100_000);
}

/// Sends one request and reads its answer.
async fn one(stream: tokio::io::DuplexStream) -> u16 {
    let mut connection = crate::support::connect(stream).await;
    let answer = connection.send_request(prompt()).await.unwrap();
    let status = answer.status().as_u16();
    read(answer).await;
    status
}

#[tokio::test]
async fn what_the_ledger_said_before_another_request_ended_is_not_believed() {
    let hand = ByHand::start().await;
    let fixture = with(&hand.provider.base, cost(ANSWER_COSTS), |_| {}).await;
    let first = tokio::spawn(one(fixture.dial()));
    let answer = hand.next().await;
    // The second asks while the first is under way, and hears the answer when that is over and charged.
    fixture.ledger.hold_answers(true);
    let second = tokio::spawn(one(fixture.dial()));
    fixture.ledger.wait_for_questions(2).await;
    answer.say(START).await;
    drop(answer);
    assert_eq!(first.await.unwrap(), 200);
    fixture.ledger.hold_answers(false);
    let second = tokio::time::timeout(Duration::from_secs(10), second).await;
    assert_eq!(second.expect("it went out").unwrap(), 402);
    assert_eq!(hand.seen(), 1);
}

#[tokio::test]
async fn the_day_s_budget_holds_for_all_sessions_together() {
    let provider = Provider::start(async |_| document()).await;
    let fixture = with(&provider.base, Budget::default(), |config| {
        config.daily_budget = cost(2 * ANSWER_COSTS);
    })
    .await;
    let neighbour = neighbour(&fixture, Budget::default()).await;
    read(fixture.send(prompt()).await).await;
    read(neighbour.send(prompt()).await).await;
    for session in [&fixture, &neighbour] {
        let (status, _, message) = error_of(session.send(prompt()).await).await;
        assert_eq!(status, 402);
        assert!(
            message.contains("today's budget") && message.contains("midnight UTC"),
            "{message}"
        );
        let events = session.ledger.wait_for_events(1).await;
        assert_eq!(
            events,
            [DoorEvent::BudgetSpent {
                limit: BudgetLimit::Cost,
                today: true
            }]
        );
    }
    assert_eq!(provider.seen().len(), 2);
}

#[tokio::test]
async fn without_its_accounts_nothing_of_a_session_with_a_budget_goes_out() {
    let provider = Provider::start(async |_| document()).await;
    let fixture = with(&provider.base, requests(100), |_| {}).await;
    fixture.ledger.fail(true, false);
    let refused = fixture.send(prompt()).await;
    assert_eq!(refused.headers()["x-should-retry"], "true");
    assert_eq!(error_of(refused).await.0, 503);
    assert!(provider.seen().is_empty());
    fixture.ledger.fail(false, false);
    assert_eq!(fixture.send(prompt()).await.status(), 200);
}
