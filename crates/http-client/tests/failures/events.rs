//! Streams of events that break, lie, stall or end for no reason.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use serde_json::json;
use session_core::api::{EventStream, SessionApi};
use session_core::error::ErrorKind;
use tokio::time::Instant;

use crate::peer::{Line, Server, hang, id, info};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const END: &str = "0\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn event(seq: u64) -> String {
    let event = json!({
        "session": id(), "seq": seq, "at": "2026-01-01T00:00:00Z", "event": "agent_text", "text": format!("{seq}"),
    });
    format!("id: {seq}\nevent: agent_text\ndata: {event}\n\n")
}

fn destroyed(seq: u64) -> String {
    let event = json!({
        "session": id(), "seq": seq, "at": "2026-01-01T00:00:00Z", "event": "state_changed", "state": "destroyed",
    });
    format!("id: {seq}\nevent: state_changed\ndata: {event}\n\n")
}

/// Serves streams by their number, and remembers after which event each was asked for. Other requests get `record`.
fn serve<F, W>(record: serde_json::Value, stream: F) -> (Server, Arc<Mutex<Vec<u64>>>)
where
    F: Fn(usize, Line) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let server = Server::start(move |_, mut line| {
        let (kept, stream, record) = (kept.clone(), stream.clone(), record.clone());
        async move {
            while let Some(request) = line.request().await {
                let Some((_, after)) = request.line.split_once("/events/stream?after=") else {
                    line.json(&record).await;
                    continue;
                };
                let number = {
                    let mut kept = kept.lock().expect("no test panics with it");
                    kept.push(after.parse().expect("a number is asked for"));
                    kept.len() - 1
                };
                line.raw(HEAD).await;
                return stream(number, line).await;
            }
        }
    });
    (server, asked)
}

async fn numbers(events: EventStream) -> Vec<Result<u64, ErrorKind>> {
    events
        .map(|event| event.map(|event| event.seq).map_err(|error| error.kind()))
        .collect()
        .await
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_goes_on_without_gap_or_duplicate() {
    let (server, asked) = serve(info("ready", 9), |number, mut line| async move {
        match number {
            // In the middle of an event, and of a chunk.
            0 => {
                line.raw(chunk(&format!("{}{}{}", event(1), event(2), &event(3)[..20])))
                    .await
            }
            // Told again what is known.
            1 => {
                line.raw(format!(
                    "{}ff\r\ndata",
                    chunk(&format!(": hello\n\n{}{}", event(2), event(3)))
                ))
                .await
            }
            2 => {}
            _ => {
                line.raw(format!("{}{}{END}", chunk(&event(4)), chunk(&destroyed(5))))
                    .await
            }
        }
    });
    let events = server.client().events(&id(), 0).await.unwrap();
    assert_eq!(numbers(events).await, (1..=5).map(Ok).collect::<Vec<_>>());
    assert_eq!(*asked.lock().unwrap(), [0, 2, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_not_the_sessions_is_none() {
    // A server that stops in order, before anything was told and after.
    let (server, asked) = serve(info("ready", 1), |number, mut line| async move {
        match number {
            0 => line.raw(END).await,
            1 => line.raw(format!("{}{END}", chunk(&event(1)))).await,
            // Half an event is no event.
            2 => line.raw(format!("{}{END}", chunk(&event(2)[..30]))).await,
            _ => line.raw(format!("{}{END}", chunk(&destroyed(2)))).await,
        }
    });
    let events = server.client().events(&id(), 0).await.unwrap();
    assert_eq!(numbers(events).await, [Ok(1), Ok(2)]);
    assert_eq!(*asked.lock().unwrap(), [0, 0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_that_was_seen_before_is_believed() {
    let (server, asked) = serve(
        info("destroyed", 5),
        |_, mut line| async move { line.raw(END).await },
    );
    let events = server.client().events(&id(), 5).await.unwrap();
    assert_eq!(numbers(events).await, []);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_is_given_up() {
    let (server, asked) = serve(info("ready", 1), |_, mut line| async move {
        line.raw(chunk(&event(1))).await
    });
    let events = server.client().events(&id(), 0).await.unwrap();
    let began = Instant::now();
    assert_eq!(numbers(events).await, [Ok(1), Err(ErrorKind::LinkLost)]);
    let waited = began.elapsed().as_secs();
    assert!((20..=40).contains(&waited), "given up after {waited} s");
    let tries = asked.lock().unwrap().len();
    assert!((10..60).contains(&tries), "{tries} tries");
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_broken_connection() {
    let (server, asked) = serve(info("ready", 1), |number, mut line| async move {
        if number == 0 {
            line.raw(chunk(&event(1))).await;
            // Comments are no silence.
            for _ in 0..10 {
                tokio::time::sleep(std::time::Duration::from_secs(15)).await;
                line.raw(chunk(": heartbeat\n\n")).await;
            }
            hang().await;
        }
        line.raw(format!("{}{END}", chunk(&destroyed(2)))).await;
    });
    let began = Instant::now();
    let events = server.client().events(&id(), 0).await.unwrap();
    assert_eq!(numbers(events).await, [Ok(1), Ok(2)]);
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(began.elapsed().as_secs(), 150 + 45);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_told_ends_the_stream() {
    let problem = json!({
        "type": "x", "title": "x", "status": 500, "detail": "x", "code": "store_failed", "retryable": true,
        "operation": "follow the session's events", "message": "the disk is gone",
    });
    let told = format!("event: error\ndata: {problem}\n\n");
    let (server, asked) = serve(info("ready", 1), move |_, mut line| {
        let told = told.clone();
        async move { line.raw(chunk(&format!("{}{told}", event(1)))).await }
    });
    let events = server.client().events(&id(), 0).await.unwrap();
    assert_eq!(numbers(events).await, [Ok(1), Err(ErrorKind::StoreFailed)]);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_that_make_no_sense_end_the_stream() {
    for nonsense in [event(3), "data: {}\n\n".to_owned(), "data: x\n\n".to_owned()] {
        let (server, _) = serve(info("ready", 1), move |_, mut line| {
            let nonsense = nonsense.clone();
            async move {
                line.raw(chunk(&format!("{}{nonsense}", event(1)))).await;
                hang().await;
            }
        });
        let events = server.client().events(&id(), 0).await.unwrap();
        assert_eq!(numbers(events).await, [Ok(1), Err(ErrorKind::Unsupported)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_without_end_is_cut() {
    use tokio::io::AsyncWriteExt;
    let (told, mut sent) = tokio::sync::mpsc::channel(100);
    let (server, _) = serve(info("ready", 1), move |_, mut line| {
        let told = told.clone();
        async move {
            let piece = chunk(&"x".repeat(1 << 20));
            line.raw(chunk("data: ")).await;
            let mut count = 0;
            while count < 200 && line.0.write_all(piece.as_bytes()).await.is_ok() {
                count += 1;
            }
            let _ = told.send(count).await;
        }
    });
    let mut events = server.client().events(&id(), 0).await.unwrap();
    let told = tokio::select! {
        event = events.next() => panic!("{event:?}"),
        sent = sent.recv() => sent.unwrap(),
    };
    assert!((64..70).contains(&told), "{told} MiB were taken");
}

#[tokio::test]
async fn a_stream_of_another_kind_is_refused_at_once() {
    let server = Server::start(|_, mut line| async move {
        line.request().await;
        line.json(&json!([])).await;
    });
    let error = server.client().events(&id(), 0).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
}

#[tokio::test]
async fn a_dropped_stream_closes_its_connection() {
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let (server, _) = serve(info("ready", 1), move |_, mut line| {
        let ended = ended.clone();
        async move {
            line.raw(chunk(&event(1))).await;
            line.rest().await;
            let _ = ended.send(()).await;
        }
    });
    let mut events = server.client().events(&id(), 0).await.unwrap();
    events.next().await.unwrap().unwrap();
    drop(events);
    end.recv().await.unwrap();
}
