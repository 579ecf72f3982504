//! Commands over WebSockets.

use bytes::Bytes;
use http_api::OutputFrame;
use serde_json::{Value, json};
use session_core::id::CommandId;
use testkit::memory::Exit;

use crate::support::{Heard, House, SOON, Said, Socket};

fn output(heard: Option<Heard>) -> OutputFrame {
    match heard {
        Some(Heard::Bytes(bytes)) => OutputFrame::decode(bytes).unwrap(),
        other => panic!("{other:?} instead of output"),
    }
}

/// Reads to the end, acknowledging what comes.
async fn to_the_end(socket: &mut Socket, from: u64) -> (Vec<u8>, Value) {
    let (mut read, mut at) = (Vec::new(), from);
    loop {
        match socket.hear().await.unwrap() {
            Heard::Bytes(bytes) => {
                let frame = OutputFrame::decode(bytes).unwrap();
                assert_eq!(frame.offset, at);
                at += frame.bytes.len() as u64;
                read.extend_from_slice(&frame.bytes);
                socket.say(json!({"type": "ack", "offset": at})).await;
            }
            Heard::Text(text) => {
                assert_eq!(text["type"], "exited", "{text}");
                assert!(socket.hear().await.is_none());
                return (read, text["exit"].clone());
            }
        }
    }
}

#[tokio::test]
async fn a_command_is_run_fed_and_ended_over_a_socket() {
    let house = House::new().await;
    let id = house.session().await;
    let path = format!("/v1/sessions/{id}/commands/stream");
    let mut socket = house.admin.socket(&path).await.ok().unwrap();
    socket
        .say(json!({"type": "start", "argv": ["cat"], "stdin": true}))
        .await;
    let started = socket.text().await;
    assert_eq!(started["type"], "started");
    assert!(started["command"].as_str().unwrap().parse::<CommandId>().is_ok());
    socket.write(Bytes::from_static(b"one \xff")).await;
    let frame = output(socket.hear().await);
    assert_eq!((frame.offset, &frame.bytes[..]), (0, &b"one \xff"[..]));
    socket.write(Bytes::from_static(b"two")).await;
    socket.say(json!({"type": "eof"})).await;
    let (rest, exit) = to_the_end(&mut socket, 5).await;
    assert_eq!((rest.as_slice(), &exit["code"]), (&b"two"[..], &json!(0)));

    let mut socket = house.admin.socket(&path).await.ok().unwrap();
    socket
        .say(json!({"type": "start", "argv": ["cat"], "stdin": "all of it"}))
        .await;
    socket.text().await;
    assert_eq!(to_the_end(&mut socket, 0).await.0, b"all of it");

    let mut socket = house.admin.socket(&path).await.ok().unwrap();
    socket
        .say(json!({"type": "start", "argv": ["sleep", "60"]}))
        .await;
    socket.text().await;
    socket.say(json!({"type": "signal", "signal": 15})).await;
    assert_eq!(to_the_end(&mut socket, 0).await.1["signal"], 15);
}

#[tokio::test]
async fn what_nobody_understands_ends_the_conversation_with_a_problem() {
    let house = House::new().await;
    let id = house.session().await;
    let path = format!("/v1/sessions/{id}/commands/stream");
    for first in [
        json!({"type": "eof"}),
        json!({"type": "start"}),
        json!({"type": "start", "argv": ["x"], "shell": true}),
        json!({"type": "start", "argv": []}),
        json!({"type": "ack", "offset": -1}),
        json!(7),
    ] {
        let mut socket = house.admin.socket(&path).await.ok().unwrap();
        socket.say(first.clone()).await;
        let said = socket.text().await;
        assert_eq!(said["type"], "error", "{first}");
        assert_eq!(said["problem"]["status"], 400, "{first}");
        assert!(socket.hear().await.is_none());
    }
    let never = CommandId::new();
    for path in [
        format!("/v1/sessions/{never}/commands/stream"),
        format!("/v1/sessions/{id}/commands/{never}/stream"),
        format!("/v1/sessions/{id}/terminals/{never}/stream"),
    ] {
        assert_eq!(house.admin.socket(&path).await.err(), Some(404), "{path}");
    }
    let plain = house.admin.get(&path).await;
    assert_eq!(
        (plain.status.as_u16(), plain.header("upgrade")),
        (426, Some("websocket"))
    );
}

#[tokio::test]
async fn a_command_ends_with_its_socket() {
    let house = House::new().await;
    let id = house.session().await;
    let (alive, mut ended) = tokio::sync::mpsc::channel::<()>(1);
    let alive = std::sync::Mutex::new(Some(alive));
    house.site.memory.program("long", move |_| {
        let held = alive.lock().unwrap().take();
        async move {
            let _held = held;
            std::future::pending::<Exit>().await
        }
    });
    let mut socket = house
        .admin
        .socket(&format!("/v1/sessions/{id}/commands/stream"))
        .await
        .ok()
        .unwrap();
    socket.say(json!({"type": "start", "argv": ["long"]})).await;
    assert_eq!(socket.text().await["type"], "started");
    drop(socket);
    // The program held its end of the channel until it was ended.
    assert!(tokio::time::timeout(SOON, ended.recv()).await.unwrap().is_none());
}

#[tokio::test]
async fn output_of_a_detached_command_waits_until_it_is_acknowledged() {
    let house = House::new().await;
    let id = house.session().await;
    let (go, went) = tokio::sync::watch::channel(0_u32);
    house.site.memory.program("steps", move |context| {
        let mut went = went.clone();
        async move {
            for step in 1..=3 {
                went.wait_for(|now| *now >= step).await.unwrap();
                context.stdout.line(format!("step {step}")).await;
            }
            Exit::OK
        }
    });
    let commands = format!("/v1/sessions/{id}/commands");
    let mut first = house
        .admin
        .socket(&format!("{commands}/stream"))
        .await
        .ok()
        .unwrap();
    first
        .say(json!({"type": "start", "argv": ["steps"], "detach": true}))
        .await;
    let command = first.text().await["command"].as_str().unwrap().to_owned();
    go.send_replace(1);
    assert_eq!(&output(first.hear().await).bytes[..], b"step 1\n");
    go.send_replace(2);
    assert!(first.is_silent().await, "the first piece was not acknowledged");
    first.say(json!({"type": "ack", "offset": 6})).await;
    assert!(first.is_silent().await, "not all of it was");
    first.say(json!({"type": "ack", "offset": 7})).await;
    assert_eq!(&output(first.hear().await).bytes[..], b"step 2\n");
    // It goes without having acknowledged the second piece: whoever comes back gets it again.
    drop(first);
    let attach = format!("{commands}/{command}/stream?offset=7");
    let mut back = house.admin.socket(&attach).await.ok().unwrap();
    assert_eq!(back.text().await, json!({"type": "started", "command": command}));
    go.send_replace(3);
    let (read, exit) = to_the_end(&mut back, 7).await;
    assert_eq!(
        (read.as_slice(), &exit["code"]),
        (&b"step 2\nstep 3\n"[..], &json!(0))
    );
}

#[tokio::test]
async fn input_and_output_of_a_detached_command_do_not_wait_for_each_other() {
    let house = House::new().await;
    let id = house.session().await;
    let path = format!("/v1/sessions/{id}/commands/stream");
    let mut socket = house.admin.socket(&path).await.ok().unwrap();
    socket
        .say(json!({"type": "start", "argv": ["cat"], "stdin": true, "detach": true}))
        .await;
    socket.text().await;
    // More than all buffers on the way hold together; every acknowledgement stands behind all of it.
    let (piece, pieces) = (Bytes::from(vec![1_u8; 256 << 10]), 96);
    let mut outgoing: std::collections::VecDeque<Said> =
        (0..pieces).map(|_| Said::Bytes(piece.clone())).collect();
    outgoing.push_back(Said::Text(json!({"type": "eof"})));
    let mut read = 0;
    let (mut speaking, mut hearing) = socket.split();
    let (acks, mut acked) = tokio::sync::mpsc::channel(4096);
    let speaker = tokio::spawn(async move {
        while let Some(said) = outgoing.pop_front() {
            speaking.say(said).await;
        }
        while let Some(ack) = acked.recv().await {
            speaking.say(Said::Text(ack)).await;
        }
    });
    loop {
        match hearing.hear().await.unwrap() {
            Heard::Bytes(bytes) => {
                let frame = OutputFrame::decode(bytes).unwrap();
                assert_eq!(frame.offset, read as u64);
                read += frame.bytes.len();
                acks.send(json!({"type": "ack", "offset": read})).await.unwrap();
            }
            Heard::Text(text) => {
                assert_eq!(text["type"], "exited", "{text}");
                break;
            }
        }
    }
    assert_eq!(read, pieces * piece.len());
    drop(acks);
    speaker.await.unwrap();
}
