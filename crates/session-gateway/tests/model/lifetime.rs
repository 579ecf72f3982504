//! How connections end.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use session_gateway::GatewayErrorKind;
use session_gateway::model::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::support::{Fixture, Provider, TOKEN, connect, json, pieces, prompt, read};

/// A provider whose first answer the test sends by hand.
async fn by_hand() -> (Provider, mpsc::Sender<std::io::Result<Bytes>>) {
    let (sender, body) = pieces();
    let body = std::sync::Mutex::new(Some(body));
    let provider = Provider::start(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    })
    .await;
    (provider, sender)
}

/// Reads one piece, so that the answer is known to be under way.
async fn begin(response: Response<Incoming>, sender: &mpsc::Sender<std::io::Result<Bytes>>) -> Incoming {
    sender.send(Ok(Bytes::from("begin"))).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begin");
    body
}

#[tokio::test]
async fn a_forgotten_session_is_cut_off_at_once() {
    let (provider, sender) = by_hand().await;
    let fixture = Fixture::new(&provider.base).await;
    let body = begin(fixture.send(prompt()).await, &sender).await;
    fixture.proxy.forget(&fixture.session);
    assert!(body.collect().await.is_err());
    // The provider notices too, so nothing is generated and paid for that nobody reads.
    sender.closed().await;
    assert_eq!(fixture.proxy.usage(&fixture.session), None);
    let (_inside, outside) = tokio::io::duplex(64);
    let error = fixture
        .proxy
        .serve(&fixture.session, outside, std::future::pending())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), GatewayErrorKind::UnknownSession);
}

#[tokio::test]
async fn a_client_that_ends_its_side_still_gets_its_answer() {
    let provider = Provider::start(async |_| json(200, "{\"late\":1}")).await;
    let fixture = Fixture::new(&provider.base).await;
    let request =
        format!("POST /v1/messages HTTP/1.1\r\nx-api-key: {TOKEN}\r\ncontent-length: 2\r\n\r\n{{}}");
    let answer = fixture.send_raw(request.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("{\"late\":1}"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_expected_100_is_given_here() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let fixture = Fixture::new(&provider.base).await;
    let mut inside = fixture.dial();
    let head =
        "POST /v1/messages HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n";
    inside
        .write_all(format!("{head}x-api-key: {TOKEN}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut interim = [0; 25];
    inside.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    inside.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    inside.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let (provider, sender) = by_hand().await;
    let fixture = Fixture::new(&provider.base).await;
    let mut usage = fixture.proxy.watch_usage(&fixture.session).unwrap();
    let body = begin(fixture.send(prompt()).await, &sender).await;
    drop(body);
    // Nobody reads any more, which the next pieces show.
    while sender.send(Ok(Bytes::from("more"))).await.is_ok() {}
    usage.wait_for(|usage| usage.in_flight == 0).await.unwrap();
}

#[tokio::test]
async fn shutdown_lets_a_request_end() {
    let (provider, sender) = by_hand().await;
    let fixture = Fixture::new(&provider.base).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let (inside, outside) = tokio::io::duplex(4096);
    let (proxy, session) = (fixture.proxy.clone(), fixture.session);
    let served = tokio::spawn(async move {
        proxy
            .serve(&session, outside, async { drop(stopped.await) })
            .await
    });
    let mut connection = connect(inside).await;
    let body = begin(connection.send_request(prompt()).await.unwrap(), &sender).await;
    stop.send(()).unwrap();
    sender.send(Ok(Bytes::from("end"))).await.unwrap();
    drop(sender);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "end");
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_end_and_what_is_idle() {
    let (provider, sender) = by_hand().await;
    let limits = Limits {
        drain_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let fixture = Fixture::with_limits(&provider.base, limits).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let (inside, outside) = tokio::io::duplex(4096);
    let (proxy, session) = (fixture.proxy.clone(), fixture.session);
    let served = tokio::spawn(async move {
        proxy
            .serve(&session, outside, async { drop(stopped.await) })
            .await
    });
    let mut connection = connect(inside).await;
    let body = begin(connection.send_request(prompt()).await.unwrap(), &sender).await;
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    assert!(body.collect().await.is_err());

    let (_idle, outside) = tokio::io::duplex(4096);
    fixture
        .proxy
        .serve(&fixture.session, outside, std::future::ready(()))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_idle_connection_ends_without_an_error() {
    let provider = Provider::start(async |_| json(200, "{}")).await;
    let limits = Limits {
        head_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let fixture = Fixture::with_limits(&provider.base, limits).await;
    let (inside, outside) = tokio::io::duplex(4096);
    let (proxy, session) = (fixture.proxy.clone(), fixture.session);
    let served = tokio::spawn(async move { proxy.serve(&session, outside, std::future::pending()).await });
    let mut connection = connect(inside).await;
    read(connection.send_request(prompt()).await.unwrap()).await;
    served.await.unwrap().unwrap();
}
