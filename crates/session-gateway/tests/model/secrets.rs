//! The key goes to the provider and nowhere else (I3).

use std::io;
use std::sync::{Arc, Mutex};

use hyper::Response;
use session_gateway::SessionGateway;
use session_gateway::model::{CredentialSource, ModelProxyConfig};

use crate::support::{Fixture, KEY, Provider, TOKEN, credential, error_of, full, json, prompt, read};

/// An answer that repeats the key wherever an answer can.
fn echo() -> Vec<u8> {
    let body = format!(
        "{{\"error\":\"invalid x-api-key {KEY}, {KEY}{KEY} {}\"}}",
        &KEY[..10]
    );
    format!(
        "HTTP/1.1 401 {KEY}\r\nx-echo: key {KEY}\r\nx-api-key: {KEY}\r\nset-cookie: k={KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn an_answer_that_repeats_the_key_is_masked_at_every_split() {
    let answer = echo();
    for at in 1..answer.len() {
        let provider = Provider::start_raw(vec![answer[..at].to_vec(), answer[at..].to_vec()]).await;
        let fixture = Fixture::new(&provider.base).await;
        let request =
            format!("POST /v1/messages HTTP/1.1\r\nx-api-key: {TOKEN}\r\ncontent-length: 0\r\n\r\n");
        let text = fixture.send_raw(request.as_bytes()).await;
        assert!(
            text.starts_with("HTTP/1.1 401 Unauthorized\r\n"),
            "split at {at}: {text}"
        );
        assert!(
            text.contains("invalid x-api-key ****") && text.contains("x-echo: key ****"),
            "split at {at}: {text}"
        );
        assert!(text.ends_with(" sk-ant-can\"}"), "split at {at}: {text}");
        assert!(!text.contains(KEY), "split at {at}: {text}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_not_passed_on() {
    let elsewhere = Provider::start(async |_| json(200, "{}")).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/v1/messages", elsewhere.base);
        let provider = Provider::start(move |_| {
            let answer = Response::builder()
                .status(status)
                .header("location", location.clone());
            async move { answer.body(full("")).unwrap() }
        })
        .await;
        let response = Fixture::new(&provider.base).await.send(prompt()).await;
        assert!(!response.headers().contains_key("location"));
        assert_eq!(error_of(response).await.0, 502);
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_passed_on() {
    let provider = Provider::start(async |_| {
        Response::builder()
            .header("content-encoding", "gzip")
            .body(full("unreadable"))
            .unwrap()
    })
    .await;
    let response = Fixture::new(&provider.base).await.send(prompt()).await;
    assert_eq!(response.headers()["x-cofferdam-refusal"], "upstream_encoded");
    assert_eq!(error_of(response).await.0, 502);
}

#[tokio::test]
async fn debug_output_shows_no_key_and_no_token() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    fixture.register(fixture.session, TOKEN, Some(KEY)).await.unwrap();
    let config = ModelProxyConfig::messages(
        provider.base.clone(),
        CredentialSource::new(Some(credential(KEY))),
    );
    let short = fixture
        .register(fixture.session, "canary-token", None)
        .await
        .unwrap_err();
    let shown = format!(
        "{:?} {:?} {:?} {:?} {config:?} {:?} {short:?} {short}",
        fixture.proxy,
        fixture.credential,
        credential(KEY),
        SessionGateway::new(config.clone()),
        fixture.proxy.usage(&fixture.session),
    );
    assert!(!shown.contains("canary") && !shown.contains(TOKEN), "{shown}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_at_its_loudest_shows_no_key_and_no_token() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());

    let provider = Provider::start_raw(vec![echo()]).await;
    let fixture = Fixture::new(&provider.base).await;
    read(fixture.send(prompt()).await).await;
    let broken = Provider::start_raw(vec![format!("HTTP/1.1 {KEY}\r\n\r\n").into_bytes()]).await;
    read(Fixture::new(&broken.base).await.send(prompt()).await).await;
    fixture.credential.rotate(None);
    read(fixture.send(prompt()).await).await;

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("a model request was refused") && text.contains("model provider failed"),
        "{text}"
    );
    assert!(!text.contains("canary") && !text.contains(TOKEN), "{text}");
}
