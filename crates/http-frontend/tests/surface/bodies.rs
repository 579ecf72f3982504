//! Clients that are slow with what they send or do not read what they get.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::House;
use crate::support::client::get;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let house = House::with(|options| options.header_timeout = SHORT).await;
    let slow = async {
        let mut stream = house.tcp().await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: local")
            .await
            .unwrap();
        ends(&mut stream).await
    };
    let silent = async { ends(&mut house.tcp().await).await };
    let dripping = async {
        let mut stream = house.tcp().await;
        for _ in 0..100 {
            if stream.write_all(b"x").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ends(&mut stream).await
    };
    // Each is a connection of its own; that they end at all is what counts.
    tokio::join!(slow, silent, dripping);
    house.ended().await;
}

async fn ends<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    // Reset or closed, it is over.
    let _ = tokio::time::timeout(SHORT * 10, reading)
        .await
        .expect("the server waits on");
}

#[tokio::test]
async fn a_body_that_stalls_is_cut() {
    let house = House::with(|options| options.body_timeout = SHORT).await;
    let mut stream = house.unix().await;
    stream
        .write_all(b"POST /t/sink HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    tokio::time::timeout(SHORT * 10, reading).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("in time"), "{answer}");
    house.ended().await;
}

#[tokio::test]
async fn a_body_that_goes_on_coming_is_read() {
    let house = House::with(|options| options.body_timeout = SHORT).await;
    let mut stream = house.unix().await;
    stream
        .write_all(
            b"POST /t/sink HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 10\r\n\r\n",
        )
        .await
        .unwrap();
    // Longer than a stall may last, and never as long at once.
    for _ in 0..10 {
        tokio::time::sleep(SHORT / 5).await;
        stream.write_all(b"x").await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\n10"), "{answer}");
    house.ended().await;
}

#[tokio::test]
async fn who_does_not_read_an_answer_is_cut_and_holds_nothing() {
    let mut house = House::with(|options| options.write_timeout = SHORT).await;
    let mut stream = house.tcp().await;
    let request = format!(
        "GET /t/flood HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        house.admin
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    house.until_connections(|open| *open == 1).await;
    house.until_connections(|open| *open == 0).await;
    house.ended().await;
}

#[tokio::test]
async fn who_reads_slowly_gets_everything() {
    let house = House::with(|options| options.write_timeout = SHORT).await;
    let mut stream = house.tcp().await;
    let request = format!(
        "GET /t/flood HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n",
        house.admin
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 4 << 20];
    for _ in 0..12 {
        stream.read_exact(&mut bytes).await.unwrap();
        tokio::time::sleep(SHORT / 6).await;
    }
    drop(stream);
    house.ended().await;
}

#[tokio::test]
async fn the_servers_own_user_may_take_their_time() {
    let house = House::with(|options| options.write_timeout = SHORT).await;
    let mut stream = house.unix().await;
    stream.write_all(&get("/t/flood")).await.unwrap();
    tokio::time::sleep(SHORT * 4).await;
    let mut bytes = vec![0; 8 << 20];
    stream.read_exact(&mut bytes).await.unwrap();
    drop(stream);
    house.ended().await;
}
