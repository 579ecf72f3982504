//! WebSockets that are none, that close in the middle, that flood or do not read.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_client::HttpSessions;
use serde_json::{Value, json};
use session_core::api::{SessionApi, SessionApiExt};
use session_core::command::{CommandEvent, CommandRequest, OnDisconnect, RunningCommand};
use session_core::error::{Error, ErrorKind};
use session_core::id::CommandId;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::peer::{Line, Server, hang, id};

pub(crate) type Socket = WebSocketStream<BufReader<UnixStream>>;

/// Serves WebSockets.
pub(crate) fn serve<F, W>(socket: F) -> Server
where
    F: Fn(Socket) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    Server::start(move |_, Line(stream)| {
        let socket = socket.clone();
        async move {
            if let Ok(stream) = tokio_tungstenite::accept_async(stream).await {
                socket(stream).await;
            }
        }
    })
}

pub(crate) async fn tell(socket: &mut Socket, frame: Value) {
    let _ = socket.send(Message::text(frame.to_string())).await;
}

/// The next frame in text.
pub(crate) async fn heard(socket: &mut Socket) -> Value {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).expect("a client sends JSON"),
        other => panic!("{other:?}"),
    }
}

fn command() -> CommandId {
    "11111111-2222-4333-8444-555555555555"
        .parse()
        .expect("this is an id")
}

/// Takes the start of a command and says that it runs.
async fn begin(socket: &mut Socket) {
    assert_eq!(heard(socket).await["type"], "start");
    tell(socket, json!({"type": "started", "command": command()})).await;
}

fn output(offset: u64, text: &str) -> Message {
    let mut bytes = vec![1];
    bytes.extend(offset.to_be_bytes());
    bytes.extend(text.as_bytes());
    Message::binary(bytes)
}

fn exited() -> Value {
    let exit = json!({"cause": "exited", "code": 0, "signal": null, "duration_ms": 1, "output_bytes": 0});
    json!({"type": "exited", "exit": exit})
}

async fn run(client: &HttpSessions) -> Result<RunningCommand, Error> {
    client.command(&id(), CommandRequest::new(["true"])).await
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_to_others() {
    let server = Server::start(|_, mut line| async move {
        let body = r#"{"type": "x", "title": "x", "status": 404, "detail": "x", "code": "not_found", "retryable": false,
            "operation": "run a command", "message": "there is none", "hint": "look"}"#;
        while line.request().await.is_some() {
            line.answer("404 Not Found", "application/problem+json", body)
                .await;
        }
    });
    let client = server.client();
    for _ in 0..3 {
        let error = run(&client).await.unwrap_err();
        assert_eq!((error.kind(), error.hint()), (ErrorKind::NotFound, Some("look")));
        assert_eq!(error.to_string(), "could not run a command: there is none");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_is_no_websocket_is_recognised() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n",
    ] {
        let server = Server::start(move |_, mut line| async move {
            line.request().await;
            line.raw(answer).await;
            hang().await;
        });
        let error = run(&server.client()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert!(error.to_string().contains("unix:"), "{error}");
    }
}

#[tokio::test]
async fn a_start_that_is_refused_is_told_as_it_is() {
    let server = serve(|mut socket| async move {
        heard(&mut socket).await;
        let problem = json!({
            "type": "x", "title": "x", "status": 409, "detail": "x", "code": "state_conflict", "retryable": false,
            "operation": "run a command", "message": "it is paused",
        });
        tell(&mut socket, json!({"type": "error", "problem": problem})).await;
        hang().await;
    });
    let error = run(&server.client()).await.unwrap_err();
    assert_eq!(error.to_string(), "could not run a command: it is paused");
}

#[tokio::test]
async fn a_connection_that_ends_before_the_command_is_a_lost_link() {
    let closings: [fn(Socket) -> futures::future::BoxFuture<'static, ()>; 3] = [
        |socket| Box::pin(async move { drop(socket) }),
        |mut socket| Box::pin(async move { drop(socket.close(None).await) }),
        // Half a frame.
        |socket| {
            Box::pin(async move {
                use tokio::io::AsyncWriteExt;
                let mut stream = socket.into_inner();
                let _ = stream.write_all(&[0x82, 50, 1, 2, 3]).await;
            })
        },
    ];
    for close in closings {
        let server = serve(move |mut socket| async move {
            begin(&mut socket).await;
            let _ = socket.send(output(0, "half")).await;
            close(socket).await;
        });
        let client = server.client();
        let mut running = run(&client).await.unwrap();
        assert!(matches!(
            running.events.next().await,
            Some(Ok(CommandEvent::Output { .. }))
        ));
        let error = running.events.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LinkLost, "{error:?}");
        assert!(running.events.next().await.is_none(), "nothing follows an error");
        let error = running.control.write(Bytes::from_static(b"x")).await;
        // What is written at the moment of the break may go into the void; later writes know.
        drop(error);
        let all = client
            .command_output(&id(), CommandRequest::new(["true"]), 100)
            .await;
        assert_eq!(all.unwrap_err().kind(), ErrorKind::LinkLost);
    }
}

#[tokio::test]
async fn frames_that_make_no_sense_are_told_as_such() {
    let frames = [
        Message::text("nonsense"),
        Message::text(json!({"type": "started", "command": command()}).to_string()),
        Message::binary(vec![1, 0]),
        Message::binary(vec![9; 20]),
    ];
    for frame in frames {
        let server = serve(move |mut socket| {
            let frame = frame.clone();
            async move {
                begin(&mut socket).await;
                let _ = socket.send(frame).await;
                hang().await;
            }
        });
        let mut running = run(&server.client()).await.unwrap();
        let error = running.events.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    }
}

#[tokio::test]
async fn a_message_without_bound_is_refused() {
    let server = serve(|mut socket| async move {
        begin(&mut socket).await;
        let _ = socket.send(output(0, &"x".repeat(17 << 20))).await;
        hang().await;
    });
    let mut running = run(&server.client()).await.unwrap();
    let error = running.events.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_never_begins_is_given_up() {
    let server = serve(|mut socket| async move {
        heard(&mut socket).await;
        hang().await;
    });
    let error = run(&server.client()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::LinkLost, false),
        "{error:?}"
    );
}

#[tokio::test]
async fn asking_for_the_next_event_acknowledges_the_ones_before() {
    let server = serve(|mut socket| async move {
        let start = heard(&mut socket).await;
        assert_eq!(start["detach"], true);
        tell(&mut socket, json!({"type": "started", "command": command()})).await;
        let _ = socket.send(output(0, "0123")).await;
        assert_eq!(heard(&mut socket).await, json!({"type": "ack", "offset": 4}));
        tell(&mut socket, json!({"type": "gap", "from": 4, "to": 9})).await;
        assert_eq!(heard(&mut socket).await, json!({"type": "ack", "offset": 9}));
        tell(&mut socket, exited()).await;
        assert!(
            !matches!(socket.next().await, Some(Ok(Message::Text(_)))),
            "there is nothing to acknowledge"
        );
    });
    let request = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(["true"])
    };
    let mut running = server.client().command(&id(), request).await.unwrap();
    assert!(matches!(
        running.events.next().await,
        Some(Ok(CommandEvent::Output { offset: 0, .. }))
    ));
    assert!(matches!(
        running.events.next().await,
        Some(Ok(CommandEvent::Gap { from: 4, to: 9 }))
    ));
    assert!(matches!(
        running.events.next().await,
        Some(Ok(CommandEvent::Exited(_)))
    ));
    assert!(running.events.next().await.is_none());
}

#[tokio::test]
async fn nothing_is_acknowledged_that_nobody_went_past() {
    let (told, mut heard_more) = tokio::sync::mpsc::channel(1);
    let server = serve(move |mut socket| {
        let told = told.clone();
        async move {
            tell(&mut socket, json!({"type": "started", "command": command()})).await;
            let _ = socket.send(output(7, "0123")).await;
            let more = matches!(socket.next().await, Some(Ok(Message::Text(_))));
            let _ = told.send(more).await;
        }
    });
    let mut running = server
        .client()
        .attach_command(&id(), &command(), 7)
        .await
        .unwrap();
    assert!(matches!(
        running.events.next().await,
        Some(Ok(CommandEvent::Output { offset: 7, .. }))
    ));
    let waited = tokio::time::timeout(Duration::from_millis(100), heard_more.recv()).await;
    assert!(waited.is_err(), "something was said");
    drop(running);
    assert_eq!(heard_more.recv().await, Some(false));
}

#[tokio::test]
async fn dropping_the_events_closes_the_connection_even_while_somebody_writes() {
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let server = serve(move |mut socket| {
        let ended = ended.clone();
        async move {
            begin(&mut socket).await;
            // It does not read, until it looks for the end.
            tokio::time::sleep(Duration::from_millis(200)).await;
            while let Some(Ok(_)) = socket.next().await {}
            let _ = ended.send(()).await;
        }
    });
    let RunningCommand { events, control, .. } = run(&server.client()).await.unwrap();
    let writing = tokio::spawn(async move {
        let sent = control.write(vec![0; 8 << 20].into()).await;
        (control, sent)
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        !writing.is_finished(),
        "a server that does not read is not waited for"
    );
    drop(events);
    let (control, sent) = writing.await.unwrap();
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::LinkLost);
    end.recv().await.unwrap();
    drop(control);
}

#[tokio::test]
async fn input_after_the_end_goes_nowhere_without_complaint() {
    let server = serve(|mut socket| async move {
        begin(&mut socket).await;
        tell(&mut socket, exited()).await;
    });
    let mut running = run(&server.client()).await.unwrap();
    assert!(matches!(
        running.events.next().await,
        Some(Ok(CommandEvent::Exited(_)))
    ));
    for _ in 0..3 {
        running.control.write(vec![0; 1 << 20].into()).await.unwrap();
        running.control.close_stdin().await.unwrap();
    }
}

#[tokio::test]
async fn a_signal_does_not_wait_behind_input() {
    let server = Server::start(|number, mut line| async move {
        if number == 0 {
            let mut socket = tokio_tungstenite::accept_async(line.0).await.unwrap();
            begin(&mut socket).await;
            return hang().await;
        }
        let request = line.request().await.unwrap();
        let path = format!("POST /v1/sessions/{}/commands/{}/signal", id(), command());
        assert_eq!((request.line, request.body), (path, br#"{"signal":15}"#.to_vec()));
        line.raw("HTTP/1.1 204 No Content\r\n\r\n").await;
    });
    let running = run(&server.client()).await.unwrap();
    let full = running.control.write(vec![0; 8 << 20].into());
    assert!(
        tokio::time::timeout(Duration::from_millis(100), full)
            .await
            .is_err()
    );
    running.control.signal(15).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_asks_for_nothing_is_alive_all_the_same() {
    let (told, mut signs) = tokio::sync::mpsc::channel(1);
    let server = serve(move |mut socket| {
        let told = told.clone();
        async move {
            begin(&mut socket).await;
            while let Some(Ok(message)) = socket.next().await {
                assert!(matches!(message, Message::Pong(_)), "{message:?}");
                let _ = told.send(()).await;
            }
        }
    });
    let running = run(&server.client()).await.unwrap();
    for _ in 0..10 {
        let sign = tokio::time::timeout(Duration::from_secs(60), signs.recv()).await;
        assert!(sign.is_ok_and(|sign| sign.is_some()), "it looks dead");
    }
    drop(running);
}
