//! A request is sent again while it can be, elsewhere when there is somewhere else, and never behind the agent's back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use session_core::gateway::DoorEvent;
use session_gateway::GatewayError;
use session_gateway::model::{
    Credential, CredentialReader, CredentialSource, Limits, ModelProxyConfig, ProviderConfig, RetryPolicy,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{
    Answer, Fixture, KEY, Provider, credential, error_of, full, json, messages, pieces, prompt, read,
};

const QUICK: RetryPolicy = RetryPolicy {
    attempts: 3,
    first_wait: Duration::from_millis(10),
    longest_wait: Duration::from_secs(1),
    pause: Duration::from_secs(60),
};

fn config(providers: &[&Provider]) -> ModelProxyConfig {
    let provider = |(index, provider): (usize, &&Provider)| {
        let key = format!("{KEY}-{index}");
        let source = CredentialSource::new(Some(credential(&key)));
        ProviderConfig::messages(format!("provider {index}"), provider.base.clone(), source)
    };
    ModelProxyConfig {
        providers: providers.iter().enumerate().map(provider).collect(),
        retry: QUICK,
        ..ModelProxyConfig::default()
    }
}

/// A provider that gives these statuses in turn and then 200, to requests with a whole body.
async fn statuses(statuses: &'static [u16]) -> Provider {
    let next = AtomicUsize::new(0);
    Provider::start(move |request: Request<Incoming>| {
        let status = statuses.get(next.fetch_add(1, Ordering::SeqCst)).copied();
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "{\"the\":\"body\"}", "whole, each time");
            answer(status.unwrap_or(200))
        }
    })
    .await
}

fn answer(status: u16) -> Answer {
    json(
        status,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
    )
}

fn request() -> Request<crate::support::TestBody> {
    messages(full("{\"the\":\"body\"}"))
}

#[tokio::test]
async fn a_busy_provider_is_asked_again_and_the_agent_does_not_notice() {
    let provider = statuses(&[429, 529]).await;
    let fixture = Fixture::with(config(&[&provider]), None).await;
    let response = fixture.send(request()).await;
    assert_eq!(response.status(), 200);
    read(response).await;
    assert_eq!(provider.seen().len(), 3);
    let usage = fixture.proxy.usage(&fixture.session).unwrap();
    assert_eq!((usage.requests, usage.failed_requests), (1, 0));
}

#[tokio::test]
async fn what_stays_busy_is_told_with_whether_to_ask_again() {
    let provider = statuses(&[503, 503, 503]).await;
    let fixture = Fixture::with(config(&[&provider]), None).await;
    let response = fixture.send(request()).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["x-should-retry"], "true");
    assert_eq!(provider.seen().len(), 3);

    // An overload that the provider wants left alone for long is the agent's to wait for.
    let provider = Provider::start(async |_| {
        let mut answer = answer(429);
        answer.headers_mut().insert("retry-after", "30".parse().unwrap());
        answer
            .headers_mut()
            .insert("x-should-retry", "false".parse().unwrap());
        answer
    })
    .await;
    let fixture = Fixture::with(config(&[&provider]), None).await;
    let response = fixture.send(request()).await;
    assert_eq!(response.headers()["retry-after"], "30");
    assert_eq!(
        response.headers()["x-should-retry"],
        "false",
        "the provider's word counts"
    );
    assert_eq!(provider.seen().len(), 1);
}

#[tokio::test]
async fn other_failures_are_passed_on_at_once() {
    for status in [400, 404, 413, 500, 502, 504] {
        let provider = Provider::start(move |_| async move { answer(status) }).await;
        let fixture = Fixture::with(config(&[&provider, &provider]), None).await;
        let response = fixture.send(request()).await;
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key("x-should-retry"));
        assert_eq!(provider.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_second_provider_takes_over_for_a_while_and_gives_back() {
    let (first, second) = (statuses(&[529]).await, statuses(&[]).await);
    let mut config = config(&[&first, &second]);
    config.retry.pause = Duration::from_millis(300);
    let fixture = Fixture::with(config, None).await;
    let ask = async || assert_eq!(fixture.send(request()).await.status(), 200);
    ask().await;
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1), "at once");
    ask().await;
    assert_eq!(
        (first.seen().len(), second.seen().len()),
        (1, 2),
        "and for a while"
    );
    assert_eq!(
        second.seen()[0].headers["x-api-key"],
        format!("{KEY}-1"),
        "with its own key"
    );
    tokio::time::sleep(Duration::from_millis(350)).await;
    ask().await;
    assert_eq!((first.seen().len(), second.seen().len()), (2, 2), "then back");
    let changes = || {
        let changed = |event| match event {
            DoorEvent::ProviderChanged { to } => Some(to),
            _ => None,
        };
        fixture
            .ledger
            .events()
            .into_iter()
            .filter_map(changed)
            .collect::<Vec<_>>()
    };
    tokio::time::timeout(Duration::from_secs(5), async {
        while changes().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(changes(), ["provider 1", "provider 0"]);
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_not_waited_for() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", gone.local_addr().unwrap()).parse().unwrap();
    drop(gone);
    let second = statuses(&[]).await;
    let mut config = config(&[&second, &second]);
    config.providers[0] = ProviderConfig::messages(
        "gone",
        base,
        CredentialSource::new(Some(credential("another-key"))),
    );
    let fixture = Fixture::with(config, None).await;
    assert_eq!(fixture.send(request()).await.status(), 200);
    assert_eq!(second.seen().len(), 1);
}

#[tokio::test]
async fn one_that_breaks_off_in_the_middle_of_the_request_loses_nothing_of_it() {
    // Reads a part of the body and hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let (sender, body) = pieces();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(3).any(|piece| piece == b"one") {
            seen.push(stream.read_u8().await.unwrap());
        }
        stream.shutdown().await.unwrap();
        drop(stream);
        for piece in ["two", "three"] {
            tokio::time::sleep(Duration::from_millis(30)).await;
            sender.send(Ok(Bytes::from(piece))).await.unwrap();
        }
    });
    let second = Provider::start(async |request: Request<Incoming>| {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "onetwothree");
        json(200, "{}")
    })
    .await;
    let mut config = config(&[&second, &second]);
    let source = CredentialSource::new(Some(credential("another-key")));
    config.providers[0] = ProviderConfig::messages("flaky", base, source);
    let fixture = Fixture::with(config, None).await;
    let (first, rest) = (Bytes::from("one"), body);
    let whole = crate::support::chain(first, rest);
    assert_eq!(fixture.send(messages(whole)).await.status(), 200);
}

#[tokio::test]
async fn nothing_is_sent_again_once_the_answer_has_begun() {
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100\r\n\r\ndata: 1".to_vec();
    let broken = Provider::start_raw(vec![head]).await;
    let second = statuses(&[]).await;
    let mut config = config(&[&second, &second]);
    let source = CredentialSource::new(Some(credential("another-key")));
    config.providers[0] = ProviderConfig::messages("broken", broken.base.clone(), source);
    let fixture = Fixture::with(config, None).await;
    let response = fixture.send(request()).await;
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
    assert!(second.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_is_not_held_is_sent_once() {
    for limits in [
        Limits {
            max_held_body: 5,
            ..Limits::default()
        },
        Limits {
            max_held_in_all: 0,
            ..Limits::default()
        },
    ] {
        let (first, second) = (statuses(&[529]).await, statuses(&[]).await);
        let mut config = config(&[&first, &second]);
        config.limits = limits;
        let fixture = Fixture::with(config, None).await;
        let response = fixture.send(request()).await;
        assert_eq!(response.status(), 529, "it was sent, and the answer is told");
        assert_eq!(response.headers()["x-should-retry"], "true");
        assert_eq!((first.seen().len(), second.seen().len()), (1, 0));
        // The agent asks again, and then the other one is asked.
        assert_eq!(fixture.send(request()).await.status(), 200);
    }
}

struct File(&'static str);

#[async_trait]
impl CredentialReader for File {
    async fn read(&self) -> Result<Option<Credential>, GatewayError> {
        Credential::api_key(&self.0.into()).map(Some)
    }
}

/// A provider that takes this key alone.
async fn only(key: &'static str) -> Provider {
    Provider::start(move |request: Request<Incoming>| async move {
        if request.headers()["x-api-key"] == key {
            json(200, "{}")
        } else {
            json(
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid"}}"#,
            )
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_key_ends_the_agent_s_attempts_at_once() {
    for status in [401, 403] {
        let first = Provider::start(move |_| async move { answer(status) }).await;
        let second = statuses(&[]).await;
        let fixture = Fixture::with(config(&[&first, &second]), None).await;
        let response = fixture.send(request()).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-should-retry"], "false");
        assert_eq!((first.seen().len(), second.seen().len()), (1, 0));
    }
}

#[tokio::test]
async fn a_refused_key_is_read_anew_once() {
    let provider = only("the-new-key").await;
    let source = |file| {
        CredentialSource::new(Some(credential("the-old-key"))).with_reader(std::sync::Arc::new(File(file)))
    };
    let with = async |file| {
        let mut config = config(&[]);
        config.providers = vec![ProviderConfig::messages("p", provider.base.clone(), source(file))];
        Fixture::with(config, None).await
    };
    let fixture = with("the-new-key").await;
    for _ in 0..2 {
        assert_eq!(fixture.send(prompt()).await.status(), 200);
    }
    assert_eq!(provider.seen().len(), 3, "the new key is kept");

    let fixture = with("another-wrong-key").await;
    let (status, kind, _) = error_of(fixture.send(prompt()).await).await;
    assert_eq!((status, kind.as_str()), (401, "authentication_error"));
    assert_eq!(provider.seen().len(), 5, "once, and then told");
}

#[tokio::test]
async fn a_session_with_an_account_of_its_own_spends_nobody_else_s_money() {
    let (first, second) = (statuses(&[529, 529, 529]).await, statuses(&[]).await);
    let fixture = Fixture::with(config(&[&first, &second]), None).await;
    fixture
        .register(fixture.session, crate::support::TOKEN, Some("their-own-key"))
        .await
        .unwrap();
    assert_eq!(fixture.send(request()).await.status(), 529);
    assert_eq!((first.seen().len(), second.seen().len()), (3, 0));
    assert_eq!(first.seen()[0].headers["x-api-key"], "their-own-key");
}
