//! Tokens while a server runs: made, revoked, expired.

use std::time::{Duration, Instant};

use http_frontend::HttpOptions;
use http_frontend::caller::Scope;
use http_frontend::tokens::NewToken;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::client::request;
use crate::support::{House, SOON};

fn streaming(token: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    let headers = [&[("host", "localhost"), ("authorization", bearer.as_str())], more].concat();
    let text = String::from_utf8(request(&format!("GET {path}"), &headers, b"")).unwrap();
    text.replace("connection: close\r\n", "").into_bytes()
}

#[tokio::test]
async fn a_token_that_was_revoked_opens_nothing_at_once() {
    let house = House::new().await;
    let token = house.token("ann", Scope::Admin);
    assert_eq!(house.ask_as(&token, "GET /healthz").await.status, 200);
    let mut kept = house.tcp().await;
    let again = streaming(&token, "/healthz", &[]);
    kept.write_all(&again).await.unwrap();
    let mut bytes = [0; 4096];
    assert!(kept.read(&mut bytes).await.unwrap() > 0);
    house.tokens.revoke("ann").unwrap();
    assert_eq!(house.ask_as(&token, "GET /healthz").await.status, 401);
    kept.write_all(&again).await.unwrap();
    let read = kept.read(&mut bytes).await.unwrap_or(0);
    let answer = String::from_utf8_lossy(&bytes[..read]);
    assert!(read == 0 || answer.starts_with("HTTP/1.1 401"), "{answer}");
    house.ended().await;
}

#[tokio::test]
async fn streams_of_a_token_that_was_revoked_are_cut_within_seconds_and_others_are_not() {
    let house = House::new().await;
    let token = house.token("ann", Scope::Use);
    let mut bytes = [0; 4096];
    let mut events = house.tcp().await;
    events
        .write_all(&streaming(&token, "/t/ticks", &[]))
        .await
        .unwrap();
    let mut websocket = house.tcp().await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "echo")];
    websocket
        .write_all(&streaming(&token, "/t/echo", &upgrade))
        .await
        .unwrap();
    let mut others = house.tcp().await;
    others
        .write_all(&streaming(&house.admin, "/t/echo", &upgrade))
        .await
        .unwrap();
    for stream in [&mut events, &mut websocket, &mut others] {
        assert!(stream.read(&mut bytes).await.unwrap() > 0);
    }
    let began = Instant::now();
    house.tokens.revoke("ann").unwrap();
    for stream in [&mut events, &mut websocket] {
        let reading = async { while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(SOON, reading).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    others.write_all(b"still").await.unwrap();
    let read = others.read(&mut bytes).await.unwrap();
    assert_eq!(&bytes[..read], b"still");
    drop(others);
    house.ended().await;
}

#[tokio::test]
async fn a_token_that_expires_opens_nothing_and_its_streams_are_cut() {
    let house = House::new().await;
    let token = NewToken {
        name: "brief".to_owned(),
        scope: Scope::Read,
        all_sessions: false,
        expires_at: Some(Timestamp::now() + Duration::from_secs(2)),
    };
    let (_, secret) = house.tokens.create(token).unwrap();
    let mut bytes = [0; 4096];
    let mut events = house.tcp().await;
    events
        .write_all(&streaming(secret.expose_secret(), "/t/ticks", &[]))
        .await
        .unwrap();
    assert!(events.read(&mut bytes).await.unwrap() > 0);
    let reading = async { while events.read(&mut bytes).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(SOON, reading).await.unwrap();
    assert_eq!(
        house.ask_as(secret.expose_secret(), "GET /healthz").await.status,
        401
    );
    house.ended().await;
}

#[tokio::test]
async fn a_file_of_tokens_that_others_could_write_opens_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let house = House::new().await;
    assert_eq!(house.ask("GET /healthz").await.status, 200);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(house.tokens.path(), open).unwrap();
    assert_eq!(house.ask("GET /healthz").await.status, 401);
    let shut = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(house.tokens.path(), shut).unwrap();
    assert_eq!(house.ask("GET /healthz").await.status, 200);
    std::fs::write(house.tokens.path(), "{").unwrap();
    assert_eq!(house.ask("GET /healthz").await.status, 401);
    house.ended().await;
}

#[test]
fn the_defaults_listen_to_loopback_names_alone() {
    let options = HttpOptions::default();
    assert_eq!(options.allowed_hosts, ["localhost", "127.0.0.1", "[::1]"]);
    assert!(options.allowed_origins.is_empty() && !options.allow_remote);
}
