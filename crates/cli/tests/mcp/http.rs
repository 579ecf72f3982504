//! Over HTTP: nobody without the token, and nothing beyond loopback that was not asked for.

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::Server;

const TOKEN: &str = "canary-token-0123456789abcdef";

/// A server on a free port, and where it listens.
async fn serving(environment: &[(&str, &str)]) -> (Server, String) {
    let mut all = vec![("MCP_API_KEY", TOKEN), ("MCP_PORT", "0")];
    all.extend(environment);
    let mut server = Server::start(&["--http"], &all);
    let line = server.logged().await;
    let (_, url) = line.split_once("http://").unwrap_or_else(|| panic!("{line}"));
    let (address, _) = url.split_once("/mcp").unwrap_or_else(|| panic!("{line}"));
    (server, address.to_owned())
}

/// The status of an `initialize` with this header, and what came with it.
async fn initialize(address: &str, authorization: &str) -> (u16, String) {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } },
    })
    .to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, \
         text/event-stream\r\n{authorization}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test]
async fn only_the_token_opens() {
    let (server, address) = serving(&[("COFFERDAM_LOG", "warn,cofferdam_mcp=info,mcp_frontend=trace")]).await;
    let (status, answer) = initialize(&address, &format!("Authorization: Bearer {TOKEN}\r\n")).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"serverInfo\""), "{answer}");
    for wrong in [
        "",
        "Authorization: Bearer canary-token-0123456789abcdeX\r\n",
        "Authorization: Basic x\r\n",
    ] {
        let (status, answer) = initialize(&address, wrong).await;
        assert_eq!(status, 401, "{wrong} {answer}");
        assert!(!answer.contains(TOKEN));
    }
    server.signal(Signal::TERM);
    let ended = server.end().await;
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), ""));
    assert!(!ended.stderr.contains(TOKEN), "{}", ended.stderr);
    assert!(TcpStream::connect(&address).await.is_err());
}

#[tokio::test]
async fn without_a_token_it_says_how_to_make_one() {
    for (name, value) in [("MCP_API_KEY", ""), ("MCP_API_KEY", "short")] {
        let ended = Server::start(&["--http"], &[(name, value), ("MCP_PORT", "0")])
            .end()
            .await;
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.contains("openssl rand -hex 32"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn beyond_loopback_only_when_asked_for() {
    let environment = [("MCP_API_KEY", TOKEN), ("MCP_PORT", "0"), ("MCP_HOST", "0.0.0.0")];
    let ended = Server::start(&["--http"], &environment).end().await;
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("not loopback"), "{}", ended.stderr);

    let mut server = Server::start(
        &["--http", "--allow-remote", "--allow-host", "mcp.example.com"],
        &environment,
    );
    let line = server.logged().await;
    let port = line
        .rsplit_once("0.0.0.0:")
        .unwrap()
        .1
        .split_once('/')
        .unwrap()
        .0
        .to_owned();
    let authorization = format!("Authorization: Bearer {TOKEN}\r\nX-Forwarded-Host: a\r\n");
    let (status, answer) = initialize(&format!("127.0.0.1:{port}"), &authorization).await;
    assert_eq!(status, 200, "{answer}");
    server.signal(Signal::TERM);
    assert!(server.end().await.status.success());
}

#[tokio::test]
async fn an_address_that_is_taken_is_said() {
    let (server, address) = serving(&[]).await;
    let port = address.rsplit_once(':').unwrap().1;
    let environment = [("MCP_API_KEY", TOKEN), ("MCP_PORT", port), ("LOG_FORMAT", "json")];
    let ended = Server::start(&["--http"], &environment).end().await;
    assert_eq!(ended.status.code(), Some(11));
    let error: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert!(error["hint"].as_str().unwrap().contains("MCP_PORT"), "{error}");
    server.signal(Signal::TERM);
    assert!(server.end().await.stdout.is_empty());
}
