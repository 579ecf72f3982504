//! What one session may have open and move.

use std::time::{Duration, Instant};

use session_core::egress::DenialReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Door, PATIENCE, Server, denial, error_of, read_all};

#[tokio::test]
async fn five_hundred_connections_are_open_at_once() {
    let server = Server::echo().await;
    let authority = format!("many.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("many.example");
    let open = futures::future::join_all((0..500).map(|_| door.tunnel(&authority)));
    let mut tunnels = open.await;
    assert_eq!(door.proxy.usage(&door.session).unwrap().connections, 500);
    for (index, tunnel) in tunnels.iter_mut().enumerate() {
        tunnel.write_all(format!("{index:04}").as_bytes()).await.unwrap();
    }
    for (index, tunnel) in tunnels.iter_mut().enumerate() {
        let mut back = [0; 4];
        tunnel.read_exact(&mut back).await.unwrap();
        assert_eq!(back, format!("{index:04}").as_bytes());
    }
    drop(tunnels);
    let gone = async {
        while door.proxy.usage(&door.session).unwrap().connections > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("all places are given back");
}

#[tokio::test]
async fn a_limit_without_meaning_is_none() {
    let server = Server::echo().await;
    let authority = format!("plenty.example:{}", server.port);
    let door = Door::with_limits(&[&authority], |limits| limits.max_connections = usize::MAX);
    door.lead_home("plenty.example");
    let _open = door.tunnel(&authority).await;
    assert_eq!(door.proxy.usage(&door.session).unwrap().connections, 1);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let server = Server::echo().await;
    let authority = format!("few.example:{}", server.port);
    let door = Door::with_limits(&[&authority], |limits| limits.max_connections = 2);
    door.lead_home("few.example");
    let first = door.tunnel(&authority).await;
    let _second = door.tunnel(&authority).await;
    let (mut third, head) = door.connect(&authority).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(denial(&mut third, &head).await["reason"], "limit_reached");
    drop(first);
    let freed = async {
        while door.proxy.usage(&door.session).unwrap().connections > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.unwrap();
    door.tunnel(&authority).await;
}

#[tokio::test]
async fn bytes_are_bounded_in_all() {
    let server = Server::echo().await;
    let port = server.port;
    let authority = format!("much.example:{port}");
    let door = Door::with_limits(&[&authority], |limits| limits.max_bytes = Some(100_000));
    door.lead_home("much.example");
    let mut inside = door.tunnel(&authority).await;
    let (mut reader, mut writer) = tokio::io::split(&mut inside);
    let write = async {
        // It breaks off somewhere.
        let _ended = writer.write_all(&vec![b'x'; 1_000_000]).await;
    };
    let mut back = Vec::new();
    let read = async {
        let _ended = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut back))
            .await
            .expect("it is cut");
    };
    tokio::join!(write, read);
    assert!(back.len() < 100_000, "{}", back.len());
    let answer = door.get(&format!("http://{authority}/"), "").await;
    assert_eq!(error_of(&answer, 403)["reason"], "limit_reached");
    assert_eq!(
        door.book.denied(),
        [("much.example".to_owned(), port, DenialReason::LimitReached)]
    );
}

#[tokio::test]
async fn bodies_of_plain_requests_count_too() {
    let server = Server::mirror().await;
    let authority = format!("much.example:{}", server.port);
    let door = Door::with_limits(&[&authority], |limits| limits.max_bytes = Some(10_000));
    door.lead_home("much.example");
    let body = "x".repeat(6_000);
    let request = format!(
        "POST http://{authority}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = door.send_raw(request.as_bytes()).await;
    assert!(answer.len() < 6_000, "the answer breaks off");
    let answer = door.get(&format!("http://{authority}/"), "").await;
    assert_eq!(error_of(&answer, 403)["reason"], "limit_reached");
}

#[tokio::test]
async fn a_rate_holds_over_all_connections() {
    let server = Server::echo().await;
    let authority = format!("slow.example:{}", server.port);
    // Two seconds' worth, of which one is free, and the last piece is not waited for.
    let door = Door::with_limits(&[&authority], |limits| limits.bytes_per_second = Some(150_000));
    door.lead_home("slow.example");
    let started = Instant::now();
    let one = async {
        let mut inside = door.tunnel(&authority).await;
        let (mut reader, mut writer) = tokio::io::split(&mut inside);
        let write = async {
            writer.write_all(&[b'x'; 100_000]).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut back = Vec::new();
        tokio::join!(write, async { reader.read_to_end(&mut back).await.unwrap() });
        assert_eq!(back.len(), 100_000);
    };
    let two = async {
        let mut inside = door.tunnel(&authority).await;
        inside.write_all(&[b'x'; 50_000]).await.unwrap();
        inside.read_exact(&mut [0; 50_000]).await.unwrap();
    };
    tokio::join!(one, two);
    assert_eq!(door.proxy.usage(&door.session).unwrap().bytes, 300_000);
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn an_idle_tunnel_is_closed() {
    let server = Server::echo().await;
    let authority = format!("idle.example:{}", server.port);
    let door = Door::with_limits(&[&authority], |limits| {
        limits.idle_timeout = Duration::from_millis(100)
    });
    door.lead_home("idle.example");
    let mut inside = door.tunnel(&authority).await;
    assert_eq!(read_all(&mut inside).await, "");
}

#[tokio::test]
async fn a_dismissed_session_is_cut_off_at_once() {
    let server = Server::echo().await;
    let authority = format!("here.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("here.example");
    let mut tunnel = door.tunnel(&authority).await;
    let mut idle = door.dial();
    door.proxy.forget(&door.session);
    assert_eq!(read_all(&mut tunnel).await, "");
    assert_eq!(read_all(&mut idle).await, "");
    let mut late = door.dial();
    assert_eq!(read_all(&mut late).await, "");
    assert!(door.proxy.usage(&door.session).is_none());
}

#[tokio::test]
async fn heads_are_bounded_in_size_number_and_time() {
    let door = Door::with_limits(&["a.example"], |limits| {
        limits.max_headers = 10;
        limits.head_timeout = Duration::from_millis(100);
    });
    let many = "x: y\r\n".repeat(20);
    let answer = door.get("http://a.example/", &many).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    let answer = door.get("http://a.example/", &long).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut slow = door.dial();
    slow.write_all(b"GET http://a.exam").await.unwrap();
    read_all(&mut slow).await;
    assert_eq!(door.names.asked(), 0);
}
