//! Requests that do not arrive, arrive twice, or get no answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_client::{HttpSessions, is_not_reached};
use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::session::{CreateSession, PromptRequest, SessionFilter};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::peer::{Line, Request, Server, hang, id, info};

/// Remembers every request and answers with what `answer` does.
fn remembering<F, W>(answer: F) -> (Server, Arc<Mutex<Vec<Request>>>)
where
    F: Fn(usize, Line) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let server = Server::start(move |number, mut line| {
        let (kept, answer) = (kept.clone(), answer.clone());
        async move {
            if let Some(request) = line.request().await {
                kept.lock().expect("no test panics with it").push(request);
                answer(number, line).await;
            }
        }
    });
    (server, seen)
}

#[tokio::test]
async fn no_server_is_told_apart_from_one_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let error = HttpSessions::unix(&path).unwrap().server().await.unwrap_err();
    assert!(is_not_reached(&error), "{error:?}");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LinkLost, true));
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(error.hint().is_some());
    // A socket that a dead server left.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = HttpSessions::unix(&path).unwrap().server().await.unwrap_err();
    assert!(is_not_reached(&error), "{error:?}");
    let (server, _) = remembering(|_, _| async {});
    let error = server.client().server().await.unwrap_err();
    assert!(!is_not_reached(&error), "{error:?}");
}

#[tokio::test]
async fn connections_are_kept_and_replaced_when_they_ended() {
    let server = Server::start(|_, mut line| async move {
        for _ in 0..3 {
            if line.request().await.is_some() {
                line.json(&info("ready", 0)).await;
            }
        }
    });
    let client = server.client();
    for _ in 0..3 {
        client.session(&id()).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    // The server ends the connection after its third answer. Nothing was sent on it, so even what must not be done twice
    // is sent on another one.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = client.interrupt(&id()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unsupported,
        "a record is no answer to that: {error:?}"
    );
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_changes_nothing_is_asked_again_once() {
    let (server, seen) = remembering(|number, mut line| async move {
        if number == 1 {
            line.json(&info("ready", 0)).await;
        }
    });
    server.client().session(&id()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2);
    let error = server.client().session(&id()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LinkLost, true));
    assert_eq!(seen.lock().unwrap().len(), 4, "no more than twice");
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_sent_once() {
    let (server, seen) = remembering(|_, _| async {});
    let error = server.client().interrupt(&id()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LinkLost, false));
    assert!(error.hint().is_some());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_creation_bears_the_same_key_when_it_is_sent_again() {
    let (server, seen) = remembering(|number, mut line| async move {
        if number == 1 {
            line.json(&info("ready", 0)).await;
        }
    });
    let client = server.client();
    client.create(CreateSession::default()).await.unwrap();
    let error = client.create(CreateSession::default()).await.unwrap_err();
    assert!(
        !error.is_retryable(),
        "its caller does not know the key: {error:?}"
    );
    let prompt = PromptRequest {
        prompt: "Do it.".to_owned(),
        idempotency_key: Some("mine".to_owned()),
        ..PromptRequest::default()
    };
    let error = client.prompt(&id(), prompt).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let seen = seen.lock().unwrap();
    let keys: Vec<_> = seen
        .iter()
        .map(|request| request.headers["idempotency-key"].as_str())
        .collect();
    assert_eq!(keys.len(), 6, "{seen:?}");
    assert_eq!((keys[0], keys[2]), (keys[1], keys[3]));
    assert_ne!(keys[0], keys[2]);
    assert_eq!(keys[4..], ["mine", "mine"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_waited_for_only_where_there_is_reason_to() {
    let (server, seen) = remembering(|_, line| async move {
        hang().await;
        drop(line);
    });
    let client = server.client();
    let began = Instant::now();
    let error = client.list(SessionFilter::default()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::LinkLost, true),
        "{error:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 30);
    let created = tokio::time::timeout(
        Duration::from_secs(86_400),
        client.create(CreateSession::default()),
    )
    .await;
    assert!(created.is_err(), "an image may take a day");
    assert_eq!(seen.lock().unwrap().len(), 2, "who is late is not asked twice");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_shakes_hands_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let options = http_client::ConnectOptions::default();
    let began = Instant::now();
    let error = HttpSessions::connect(&url, None, &options)
        .unwrap()
        .server()
        .await
        .unwrap_err();
    assert!(is_not_reached(&error), "{error:?}");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn closing_ends_what_is_under_way_and_all_that_follows() {
    let (server, _) = remembering(|_, line| async move {
        hang().await;
        drop(line);
    });
    let client = server.client();
    let waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.create(CreateSession::default()).await });
    crate::peer::until(|| server.connections() == 1).await;
    client.close().await;
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(client.server().await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |_, mut line| {
        let ended = ended.clone();
        async move {
            line.request().await;
            line.rest().await;
            let _ = ended.send(()).await;
        }
    });
    let client = server.client();
    let call = client.create(CreateSession::default());
    assert!(
        tokio::time::timeout(Duration::from_millis(100), call)
            .await
            .is_err()
    );
    end.recv().await.unwrap();
}

#[tokio::test]
async fn a_token_goes_with_every_request_and_is_shown_to_nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let read = stream.read(&mut head).await.unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let options = http_client::ConnectOptions::default();
    let client = HttpSessions::connect(&url, Some("cfd_canary".into()), &options).unwrap();
    let error = client.server().await.unwrap_err();
    let head = serving.await.unwrap();
    assert!(head.contains("authorization: Bearer cfd_canary\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: {}\r\n", url.trim_start_matches("http://"))),
        "{head}"
    );
    assert!(!format!("{error:?} {client:?}").contains("canary"));
    for token in ["", "two words", "line\nbreak", "ä"] {
        let error = HttpSessions::connect(&url, Some(token.into()), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
