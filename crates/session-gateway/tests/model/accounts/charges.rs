//! Each request is charged once, however it ends.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use secrecy::SecretString;
use session_core::budget::{Budget, Spending};
use session_core::gateway::{Gateway, MODEL_DOOR, McpGrant, ModelApi, SessionGrant};
use session_core::id::SessionId;
use session_gateway::SessionGateway;
use session_gateway::model::{ModelPrice, ModelProxyConfig, PriceTable, Rates};
use testkit::ledger::MemoryLedger;

use super::{ANSWER, ANSWER_COSTS, ByHand, START, config, document, piece, with};
use crate::support::{
    Fixture, Provider, TOKEN, connect, error_of, full, json, messages, pieces, prompt, read,
};

/// Without the time that it took.
fn amounts(spending: &Spending) -> Spending {
    Spending {
        model_ms: 0,
        ..*spending
    }
}

#[tokio::test]
async fn a_request_is_charged_once_with_what_it_used_and_cost() {
    let provider = Provider::start(async |_| document()).await;
    let fixture = Fixture::new(&provider.base).await;
    read(fixture.send(prompt()).await).await;
    read(fixture.send(prompt()).await).await;
    let once = Spending {
        requests: 1,
        input_tokens: 200_000,
        cost_microusd: ANSWER_COSTS,
        ..Spending::default()
    };
    let charges = fixture.ledger.wait_for_charges(2).await;
    assert_eq!(charges.iter().map(amounts).collect::<Vec<_>>(), [once, once]);
    assert_eq!(
        fixture.proxy.usage(&fixture.session).unwrap().input_tokens,
        400_000
    );
    assert_eq!(
        fixture.ledger.asked(),
        0,
        "without a budget nobody asks the ledger"
    );
}

#[tokio::test]
async fn the_end_of_an_answer_waits_for_its_charge_and_its_data_does_not() {
    let hand = ByHand::start().await;
    let fixture = Fixture::new(&hand.provider.base).await;
    fixture.ledger.hold_charges(true);
    let mut body = fixture.send(prompt()).await.into_body();
    let answer = hand.next().await;
    answer.say(START).await;
    assert_eq!(piece(&mut body).await.unwrap(), START);
    drop(answer);
    let early = tokio::time::timeout(Duration::from_millis(200), body.frame()).await;
    assert!(early.is_err(), "the end came before the charge");
    fixture.ledger.hold_charges(false);
    assert!(body.frame().await.is_none());
    assert_eq!(fixture.ledger.charges().len(), 1, "who saw the end was charged");
}

#[tokio::test]
async fn the_last_piece_of_a_document_waits_for_its_charge_and_not_for_ever() {
    let provider = Provider::start(async |_| document()).await;
    let fixture = Fixture::new(&provider.base).await;
    fixture.ledger.hold_charges(true);
    let started = tokio::time::Instant::now();
    assert_eq!(read(fixture.send(prompt()).await).await, ANSWER);
    let took = started.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    assert_eq!(fixture.ledger.charges().len(), 0);
    fixture.ledger.hold_charges(false);
    assert_eq!(fixture.ledger.wait_for_charges(1).await.len(), 1);
}

#[tokio::test]
async fn an_agent_that_hangs_up_pays_also_for_what_was_not_counted_yet() {
    let hand = ByHand::start().await;
    let fixture = Fixture::new(&hand.provider.base).await;
    let mut body = fixture.send(prompt()).await.into_body();
    let answer = hand.next().await;
    answer.say(START).await;
    piece(&mut body).await.unwrap();
    let text = "x".repeat(3_000);
    let event =
        serde_json::json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}});
    answer.say(format!("data: {event}\n\n")).await;
    piece(&mut body).await.unwrap();
    drop(body);
    answer.given_up().await;
    let charge = fixture.ledger.wait_for_charges(1).await[0];
    assert_eq!((charge.requests, charge.input_tokens), (1, 200_000));
    assert!((950..1_100).contains(&charge.output_tokens), "{charge:?}");
    assert!(charge.cost_microusd > ANSWER_COSTS + 20_000, "{charge:?}");
}

#[tokio::test]
async fn an_agent_that_hangs_up_before_the_answer_pays_for_its_prompt() {
    let (reached, mut came) = tokio::sync::mpsc::channel::<()>(1);
    let provider = Provider::start(move |request| {
        let reached = reached.clone();
        async move {
            request.into_body().collect().await.unwrap();
            reached.send(()).await.unwrap();
            std::future::pending().await
        }
    })
    .await;
    let fixture = Fixture::new(&provider.base).await;
    let body = format!(
        r#"{{"model":"claude-opus-5","messages":"{}"}}"#,
        "x".repeat(29_950)
    );
    let sending = tokio::spawn({
        let connection = fixture.connect().await;
        async move {
            let mut connection = connection;
            connection.send_request(messages(full(body))).await
        }
    });
    came.recv().await.unwrap();
    sending.abort();
    // The connection goes with the session, as it does when a container is removed.
    fixture.proxy.dismiss(&fixture.session).await;
    let charge = fixture.ledger.charges()[0];
    assert!((9_900..10_100).contains(&charge.input_tokens), "{charge:?}");
    assert_eq!(charge.cost_microusd, charge.input_tokens * 5);
}

/// The account of a document stands at its end, behind all that the agent wanted of it.
#[tokio::test]
async fn an_agent_that_hangs_up_in_the_middle_of_a_document_pays_for_it() {
    let (sender, body) = pieces();
    let body = std::sync::Mutex::new(Some(body));
    let provider = Provider::start(move |request| {
        let body = body.lock().unwrap().take().unwrap();
        async move {
            request.into_body().collect().await.unwrap();
            Response::builder()
                .header("content-type", "application/json")
                .body(body)
                .unwrap()
        }
    })
    .await;
    let fixture = Fixture::new(&provider.base).await;
    let asked = format!(
        r#"{{"model":"claude-opus-5","messages":"{}"}}"#,
        "x".repeat(29_950)
    );
    let mut connection = fixture.connect().await;
    let mut answer = connection
        .send_request(messages(full(asked)))
        .await
        .unwrap()
        .into_body();
    let text = format!(
        r#"{{"type":"message","model":"claude-opus-5","content":"{}"#,
        "x".repeat(3_000)
    );
    sender.send(Ok(text.into())).await.unwrap();
    piece(&mut answer).await.unwrap();
    drop(answer);
    drop(connection);
    fixture.proxy.dismiss(&fixture.session).await;
    let charge = fixture.ledger.charges()[0];
    assert!((9_900..10_100).contains(&charge.input_tokens), "{charge:?}");
    assert!((950..1_100).contains(&charge.output_tokens), "{charge:?}");
}

#[tokio::test]
async fn what_fails_is_charged_without_tokens() {
    let provider =
        Provider::start(async |_| json(529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#)).await;
    let fixture = Fixture::new(&provider.base).await;
    read(fixture.send(prompt()).await).await;
    let charges = fixture.ledger.wait_for_charges(1).await;
    assert_eq!((charges[0].requests, charges[0].tokens()), (1, 0));
    assert_eq!(charges[0].cost_microusd, 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_charged() {
    let hand = ByHand::start().await;
    let fixture = Fixture::new(&hand.provider.base).await;
    let body = fixture.send(prompt()).await.into_body();
    let answer = hand.next().await;
    answer.say(START).await;
    answer.breaks().await;
    assert!(body.collect().await.is_err());
    let charges = fixture.ledger.wait_for_charges(1).await;
    assert_eq!(charges[0].input_tokens, 200_000);
}

#[tokio::test]
async fn a_session_that_is_dismissed_in_the_middle_is_charged_before_that_is_over() {
    let hand = ByHand::start().await;
    let gateway = SessionGateway::new(config(&hand.provider.base));
    let (session, ledger) = (SessionId::new(), MemoryLedger::default());
    let grant = SessionGrant {
        token: SecretString::from(TOKEN),
        account: None,
        sealed: true,
        allow: Vec::new(),
        budget: Budget::default(),
        mcp: McpGrant::default(),
        ledger: std::sync::Arc::new(ledger.clone()),
    };
    let admission = gateway.admit(&session, grant).await.unwrap();
    assert_eq!(admission.model_api, ModelApi::Messages);
    let (inside, outside) = tokio::io::duplex(4096);
    tokio::spawn(gateway.serve(&session, MODEL_DOOR, Box::new(outside)));
    let mut connection = connect(inside).await;
    let mut body = connection.send_request(prompt()).await.unwrap().into_body();
    let answer = hand.next().await;
    answer.say(START).await;
    piece(&mut body).await.unwrap();
    assert_eq!(gateway.activity(&session).under_way, 1);
    gateway.dismiss(&session).await;
    drop(answer);
    let charges = ledger.charges();
    assert_eq!(charges.len(), 1, "dismissed before it was charged");
    assert_eq!(charges[0].input_tokens, 200_000);
}

#[tokio::test]
async fn a_charge_that_failed_is_made_up_for_before_anything_else_goes_out() {
    let provider = Provider::start(async |_| document()).await;
    let fixture = Fixture::new(&provider.base).await;
    fixture.ledger.fail(false, true);
    read(fixture.send(prompt()).await).await;
    let (status, kind, message) = error_of(fixture.send(prompt()).await).await;
    assert_eq!((status, kind.as_str()), (503, "overloaded_error"));
    assert!(message.contains("accounts"), "{message}");
    let refused = fixture.send(prompt()).await;
    assert_eq!(refused.headers()["x-should-retry"], "true");
    assert_eq!(refused.headers()["x-cofferdam-refusal"], "accounts_unavailable");
    assert_eq!(provider.seen().len(), 1, "nothing goes out unaccounted");
    fixture.ledger.fail(false, false);
    read(fixture.send(prompt()).await).await;
    let charges = fixture.ledger.wait_for_charges(2).await;
    assert_eq!(charges.len(), 2);
    assert_eq!(fixture.ledger.total().cost_microusd, 2 * ANSWER_COSTS);
    assert_eq!(fixture.ledger.total().requests, 2);
}

#[tokio::test]
async fn the_operator_s_prices_count() {
    let provider = Provider::start(async |_| document()).await;
    let rates = Rates {
        input: 7_000_000,
        ..Rates::default()
    };
    let prices = PriceTable::default()
        .with_overrides([("claude-opus-5".to_owned(), ModelPrice::flat(rates))])
        .unwrap();
    let fixture = with(
        &provider.base,
        Budget::default(),
        |config: &mut ModelProxyConfig| {
            config.prices = prices;
        },
    )
    .await;
    read(fixture.send(prompt()).await).await;
    assert_eq!(
        fixture.ledger.wait_for_charges(1).await[0].cost_microusd,
        1_400_000
    );
}
