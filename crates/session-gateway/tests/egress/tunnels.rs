//! Tunnels: bytes both ways, and only for the host that they were asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use session_core::egress::DenialReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Door, PATIENCE, Server, read_all};

/// The first flight of a TLS client for this name.
fn hello(name: &'static str, max_fragment: Option<usize>) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.max_fragment_size = max_fragment;
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// A host that counts what arrives.
async fn counting() -> (Server, Arc<AtomicUsize>) {
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrived);
    let server = Server::start(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                count.fetch_add(read, Ordering::SeqCst);
            }
        }
    })
    .await;
    (server, arrived)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_either_side_can_end_first() {
    let server = Server::echo().await;
    let authority = format!("echo.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("echo.example");
    let mut inside = door.tunnel(&authority).await;
    let (mut reader, mut writer) = tokio::io::split(&mut inside);
    let sent: Vec<u8> = (0..5_000_000_u32).map(|index| (index % 251) as u8).collect();
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    tokio::join!(write, async { reader.read_to_end(&mut back).await.unwrap() });
    assert!(back == sent);
    assert_eq!(door.proxy.usage(&door.session).unwrap().bytes, 10_000_000);
}

#[tokio::test]
async fn what_was_sent_with_the_request_is_part_of_the_tunnel() {
    let server = Server::echo().await;
    let authority = format!("echo.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("echo.example");
    let request = format!("CONNECT {authority} HTTP/1.1\r\nhost: x\r\n\r\nearly bird");
    let answer = door.send_raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nearly bird"), "{answer}");
}

#[tokio::test]
async fn a_host_may_speak_first() {
    let server = Server::start(async |mut stream| {
        drop(stream.write_all(b"220 mail.example\r\n").await);
        crate::support::echo(stream).await;
    })
    .await;
    let authority = format!("mail.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("mail.example");
    let mut inside = door.tunnel(&authority).await;
    let mut greeting = [0; 18];
    inside.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 mail.example\r\n");
    inside.write_all(b"EHLO").await.unwrap();
    inside.read_exact(&mut greeting[..4]).await.unwrap();
    assert_eq!(&greeting[..4], b"EHLO");
}

#[tokio::test]
async fn a_handshake_for_the_host_passes_however_it_is_cut() {
    let server = Server::echo().await;
    let authority = format!("tls.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("tls.example");
    for bytes in [hello("tls.example", None), hello("TLS.example", Some(64))] {
        for piece in [1, 100, 100_000] {
            let mut inside = door.tunnel(&authority).await;
            for piece in bytes.chunks(piece) {
                inside.write_all(piece).await.unwrap();
                inside.flush().await.unwrap();
            }
            let mut back = vec![0; bytes.len()];
            tokio::time::timeout(PATIENCE, inside.read_exact(&mut back))
                .await
                .unwrap()
                .unwrap();
            assert!(back == bytes);
        }
    }
}

#[tokio::test]
async fn a_handshake_for_another_name_is_cut_off() {
    let (server, arrived) = counting().await;
    let authority = format!("tls.example:{}", server.port);
    let door = Door::new(&[&authority, "other.example"]);
    door.lead_home("tls.example");
    for bytes in [
        hello("other.example", None),
        hello("other.example", Some(64)),
        hello("a.tls.example", None),
        // No name at all: an address is not sent as one.
        hello("127.0.0.1", None),
        [&[0x16, 3, 1, 0, 5][..], b"what?"].concat(),
    ] {
        let mut inside = door.tunnel(&authority).await;
        inside.write_all(&bytes).await.unwrap();
        let mut alert = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, inside.read_to_end(&mut alert)).await;
        assert!(ended.is_ok(), "it is closed");
        assert_eq!(
            alert,
            [0x15, 3, 3, 0, 2, 2, 112],
            "a TLS client is told in its own words"
        );
    }
    assert_eq!(arrived.load(Ordering::SeqCst), 0, "not a byte went out");
    let port = server.port;
    assert_eq!(
        door.book.denied(),
        [("tls.example".to_owned(), port, DenialReason::NameMismatch)]
    );
}

#[tokio::test]
async fn a_host_that_goes_away_ends_the_tunnel() {
    let server = Server::start(async |stream| drop(stream)).await;
    let authority = format!("gone.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("gone.example");
    let mut inside = door.tunnel(&authority).await;
    assert_eq!(read_all(&mut inside).await, "");
}

/// A host that does not read makes the program inside wait; the door keeps no more than its buffers.
#[tokio::test]
async fn a_host_that_does_not_read_holds_the_sender_up() {
    let server = Server::start(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let authority = format!("deaf.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("deaf.example");
    let mut inside = door.tunnel(&authority).await;
    let piece = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(300), inside.write_all(&piece))
        .await
        .is_ok()
    {
        sent += piece.len();
        assert!(sent < 64 << 20, "{sent} bytes went nowhere");
    }
}
