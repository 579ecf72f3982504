//! A client that sends exactly what it is told.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
    head: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

fn request(token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n"
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

pub(super) async fn exchange(
    address: SocketAddr,
    token: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reads, mut writes) = stream.into_split();
    let text = request(token, method, path, headers, body);
    // A server that refuses a body need not take all of it.
    let writing = tokio::spawn(async move {
        let _ = writes.write_all(&text).await;
        writes
    });
    let mut read = Vec::new();
    let _ = reads.read_to_end(&mut read).await;
    let _ = writing.await;
    let text = String::from_utf8(read).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Reply {
        status: status.unwrap_or_else(|| panic!("no answer: {head:?}")),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        head: head.to_owned(),
    }
}

pub(super) async fn leave(address: SocketAddr, token: &str, path: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers = [("content-type", "application/json")];
    stream
        .write_all(&request(token, "POST", path, &headers, body))
        .await
        .unwrap();
    stream.flush().await.unwrap();
    // Long enough that the request was read, and far too short for its answer.
    let mut byte = [0];
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), stream.read(&mut byte)).await;
    assert!(waited.is_err(), "the answer came before the client left");
}
