//! How much of the server's memory clients can hold together.

use std::time::{Duration, Instant};

use http_frontend::caller::Scope;
use serde_json::json;

use crate::support::{Heard, House};

/// As many first messages as a token may send at once.
const SHARE: usize = 64;

#[tokio::test]
async fn first_messages_are_bounded_in_sum_and_end_in_time_whatever_is_said_beside_them() {
    const PATIENCE: Duration = Duration::from_secs(2);
    let house = House::with(|options| options.body_timeout = PATIENCE).await;
    let id = house.session().await;
    let path = format!("/v1/sessions/{id}/commands/stream");
    let began = Instant::now();
    let mut open = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..SHARE + 6 {
        match house.admin.socket(&path).await {
            Ok(mut socket) => {
                socket.begin("{\"type\":").await;
                open.push(socket);
            }
            Err(status) => refused.push(status),
        }
    }
    assert_eq!((open.len(), refused), (SHARE, vec![429; 6]));
    let other = house.asker("other", Scope::Admin).socket(&path).await;
    assert!(other.is_ok(), "the share of one is not that of another");
    let ending = open.into_iter().map(async |mut socket| {
        loop {
            tokio::select! {
                heard = socket.hear() => return assert!(heard.is_none(), "{heard:?}"),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            // A client that is alive gets no more time by it.
            if !socket.ping().await {
                return;
            }
        }
    });
    futures::future::join_all(ending).await;
    assert!(began.elapsed() < 4 * PATIENCE, "{:?}", began.elapsed());
    let mut socket = house.admin.socket(&path).await.ok().unwrap();
    socket.say(json!({"type": "start", "argv": ["cat"]})).await;
    assert_eq!(socket.text().await["type"], "started", "what was held came back");
}

#[tokio::test]
async fn commands_that_run_hold_no_share() {
    let house = House::with(|options| options.max_unread_of_one = 1 << 20).await;
    let id = house.session().await;
    let path = format!("/v1/sessions/{id}/commands/stream");
    let mut running = Vec::new();
    for _ in 0..3 {
        let mut socket = house.admin.socket(&path).await.ok().unwrap();
        socket
            .say(json!({"type": "start", "argv": ["cat"], "stdin": true}))
            .await;
        assert_eq!(socket.text().await["type"], "started");
        running.push(socket);
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_told() {
    let house = House::new().await;
    let id = house.session().await;
    let mut socket = house
        .admin
        .socket(&format!("/v1/sessions/{id}/commands/stream"))
        .await
        .ok()
        .unwrap();
    socket
        .say(json!({"type": "start", "argv": ["cat"], "stdin": true}))
        .await;
    assert_eq!(socket.text().await["type"], "started");
    socket.write(vec![0; (1 << 20) + 1]).await;
    match socket.hear().await {
        Some(Heard::Text(told)) => assert_eq!(told["problem"]["status"], 413, "{told}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bodies_are_bounded_in_sum() {
    let long = || json!({ "name": "x".repeat(2 << 20) });
    let house = House::with(|options| options.max_unread_of_one = 1 << 20).await;
    let refused = house.admin.post("/v1/sessions", long()).await;
    assert_eq!(
        (
            refused.status.as_u16(),
            refused.code().as_str(),
            refused.header("retry-after")
        ),
        (429, "too_many_requests", Some("1"))
    );
    house.session().await;

    let house = House::with(|options| options.max_unread = 1 << 20).await;
    let refused = house.admin.post("/v1/sessions", long()).await;
    assert_eq!(
        (
            refused.status.as_u16(),
            refused.code().as_str(),
            refused.header("retry-after")
        ),
        (503, "unavailable", Some("1"))
    );
    let id = house.session().await;
    // What goes through piece by piece is not held.
    let path = format!("/v1/sessions/{id}/files?path=/workspace");
    let archive = tar_of(3 << 20);
    let request = house
        .admin
        .request(axum::http::Method::PUT, &path)
        .header("content-type", "application/x-tar");
    let copied = house.admin.send(request.body(archive.into()).unwrap()).await;
    assert_eq!(copied.status, 200, "{copied:?}");
}

fn tar_of(bytes: usize) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let content = vec![7_u8; bytes];
    archive
        .append_data(&mut header, "long", content.as_slice())
        .unwrap();
    archive.into_inner().unwrap()
}
