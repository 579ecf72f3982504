//! The server's end: nothing new begins, what is under way comes to its end, and nothing keeps it waiting for ever.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::House;
use crate::support::client::{get, request};

#[tokio::test]
async fn what_is_under_way_ends_well_and_nobody_new_comes_in() {
    let house = House::new().await;
    let mut stream = house.unix().await;
    let head = "POST /t/sink HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(format!("{head}ab").as_bytes()).await.unwrap();
    // Begun when the server has seen the head.
    tokio::time::sleep(Duration::from_millis(200)).await;
    house.begin_to_end();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!house.socket.exists(), "the socket is gone before the work is");
    assert!(tokio::net::TcpStream::connect(house.address).await.is_err());
    stream.write_all(b"cd").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with('4'),
        "{answer}"
    );
    house.ended().await;
}

#[tokio::test]
async fn subscriptions_are_ended_in_order_when_the_server_ends() {
    let house = House::new().await;
    let mut stream = house.unix().await;
    stream.write_all(&get("/t/ticks")).await.unwrap();
    let mut first = [0; 256];
    assert!(stream.read(&mut first).await.unwrap() > 0);
    let began = Instant::now();
    house.begin_to_end();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(
        rest.ends_with("0\r\n\r\n"),
        "the body ends as a whole one does: {rest:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(3));
    house.ended().await;
}

#[tokio::test]
async fn who_does_not_end_by_itself_is_cut() {
    let house = House::with(|options| options.drain = Duration::from_millis(300)).await;
    let mut websocket = house.unix().await;
    let upgrade = [
        ("host", "localhost"),
        ("connection", "upgrade"),
        ("upgrade", "echo"),
    ];
    let text = String::from_utf8(request("GET /t/echo", &upgrade, b"")).unwrap();
    let text = text.replace("connection: close\r\n", "");
    websocket.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = [0; 1024];
    assert!(websocket.read(&mut bytes).await.unwrap() > 0);
    let mut flood = house.unix().await;
    flood.write_all(&get("/t/flood")).await.unwrap();
    assert!(flood.read(&mut bytes).await.unwrap() > 0);
    let began = Instant::now();
    house.ended().await;
    assert!(began.elapsed() < Duration::from_secs(5));
}
