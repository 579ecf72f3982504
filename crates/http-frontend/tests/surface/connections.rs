//! Bounds on connections: beyond them the server refuses at once and stays usable.

use tokio::io::AsyncWriteExt as _;

use crate::support::House;
use crate::support::client::get;

#[tokio::test]
async fn connections_beyond_the_bound_are_refused_and_told_why() {
    let mut house = House::with(|options| options.max_connections = 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(house.tcp().await);
    }
    house.until_connections(|open| *open == 3).await;
    let reply = house.ask("GET /healthz").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "unavailable"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let local = house.send_local(&get("/healthz")).await;
    assert_eq!(
        local.status, 200,
        "a flood over TCP does not keep the server's user out"
    );
    held.clear();
    house.until_connections(|open| *open == 0).await;
    assert_eq!(house.ask("GET /healthz").await.status, 200);
    house.ended().await;
}

#[tokio::test]
async fn a_flood_of_refused_connections_does_not_stop_the_others() {
    let mut house = House::with(|options| options.max_connections = 2).await;
    let mut working = house.tcp().await;
    let _held = house.tcp().await;
    house.until_connections(|open| *open == 2).await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(house.tcp().await);
    }
    let text = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        house.admin
    );
    working.write_all(text.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(crate::support::SOON, read_all(&mut working))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(flood);
    house.ended().await;
}

async fn read_all<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
