//! Terminals over a WebSocket, and what becomes of viewers when it closes.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::id::TerminalId;
use session_core::terminal::{TerminalEvent, TerminalSize};
use tokio_tungstenite::tungstenite::Message;

use crate::commands::{Socket, heard, serve, tell};
use crate::peer::id;

const SIZE: TerminalSize = TerminalSize {
    rows: 30,
    columns: 90,
};

fn terminal() -> TerminalId {
    "11111111-2222-4333-8444-666666666666"
        .parse()
        .expect("this is an id")
}

async fn begin(socket: &mut Socket) {
    let info = json!({
        "id": terminal(), "session": id(), "program": {"kind": "shell"}, "size": SIZE, "viewers": 1,
        "opened_at": "2026-01-01T00:00:00Z",
    });
    tell(socket, json!({"type": "attached", "info": info})).await;
}

#[tokio::test]
async fn bytes_and_sizes_go_both_ways() {
    let server = serve(|mut socket| async move {
        begin(&mut socket).await;
        let Some(Ok(Message::Binary(typed))) = socket.next().await else {
            panic!("nothing was typed");
        };
        assert_eq!(typed, "ls\n");
        assert_eq!(
            heard(&mut socket).await,
            json!({"type": "resize", "rows": 30, "columns": 90})
        );
        tell(&mut socket, json!({"type": "resized", "rows": 30, "columns": 90})).await;
        let _ = socket.send(Message::binary(&b"\xff\x00file"[..])).await;
        tell(&mut socket, json!({"type": "skipped"})).await;
        let exit = json!({"cause": "exited", "code": 0, "signal": null, "duration_ms": 1, "output_bytes": 0});
        tell(&mut socket, json!({"type": "exited", "exit": exit})).await;
    });
    let mut attached = server
        .client()
        .attach_terminal(&id(), &terminal(), SIZE)
        .await
        .unwrap();
    assert_eq!(attached.info.id, terminal());
    attached.control.write(Bytes::from_static(b"ls\n")).await.unwrap();
    attached.control.resize(SIZE).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = attached.events.next().await {
        seen.push(event.unwrap());
    }
    let file = Bytes::from_static(b"\xff\x00file");
    assert_eq!(
        seen[..3],
        [
            TerminalEvent::Resized(SIZE),
            TerminalEvent::Output(file),
            TerminalEvent::Skipped
        ]
    );
    assert!(matches!(seen[3..], [TerminalEvent::Exited(_)]));
}

#[tokio::test]
async fn a_connection_that_ends_before_the_program_is_a_lost_link() {
    let server = serve(|mut socket| async move { begin(&mut socket).await });
    let mut attached = server
        .client()
        .attach_terminal(&id(), &terminal(), SIZE)
        .await
        .unwrap();
    let error = attached.events.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LinkLost, true));
    assert!(attached.events.next().await.is_none());
    let error = attached
        .control
        .write(Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LinkLost);
}

#[tokio::test]
async fn dropping_detaches() {
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let server = serve(move |mut socket| {
        let ended = ended.clone();
        async move {
            begin(&mut socket).await;
            while let Some(Ok(_)) = socket.next().await {}
            let _ = ended.send(()).await;
        }
    });
    let attached = server
        .client()
        .attach_terminal(&id(), &terminal(), SIZE)
        .await
        .unwrap();
    drop(attached);
    end.recv().await.unwrap();
}
