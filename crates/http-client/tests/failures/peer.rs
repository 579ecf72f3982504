//! A server by hand: every byte of it is a test's own.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_client::HttpSessions;
use serde_json::{Value, json};
use session_core::id::SessionId;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// A server whose connections do what a test says. It ends with the test.
pub(crate) struct Server {
    pub(crate) dir: TempDir,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Serves each connection with `serve`, which gets its number, from 0.
    pub(crate) fn start<F, W>(serve: F) -> Self
    where
        F: Fn(usize, Line) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let dir = tempfile::tempdir().expect("the host has room for a directory");
        let listener = UnixListener::bind(dir.path().join("s")).expect("the socket can be made");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                drop(tokio::spawn(serve(number, Line(BufReader::new(stream)))));
            }
        });
        Self {
            dir,
            connections,
            serving,
        }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> HttpSessions {
        HttpSessions::unix(self.dir.path().join("s")).expect("a path is an address")
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A connection.
pub(crate) struct Line(pub(crate) BufReader<UnixStream>);

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Request {
    /// Method and target.
    pub(crate) line: String,
    /// Names are lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Of those that say how long it is.
    pub(crate) body: Vec<u8>,
}

impl Line {
    /// The next request; `None` at the end of the connection.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        let first = self.line().await?;
        let line = first.rsplit_once(' ')?.0.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let header = self.line().await?;
            let Some((name, value)) = header.split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap_or(0));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Request { line, headers, body })
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    }

    /// Bytes as they are. A client that has gone is no failure of the server's.
    pub(crate) async fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
        let _ = self.0.flush().await;
    }

    /// A whole answer.
    pub(crate) async fn answer(&mut self, status: &str, kind: &str, body: &str) {
        let length = body.len();
        self.raw(format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
    }

    /// A good one.
    pub(crate) async fn json(&mut self, body: &Value) {
        self.answer("200 OK", "application/json", &body.to_string()).await;
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        rest
    }
}

/// Waits for ever.
pub(crate) async fn hang() {
    std::future::pending::<()>().await;
}

/// A session.
pub(crate) fn id() -> SessionId {
    "7d9f0a4e-6a0f-4c7e-9d53-1f2a3b4c5d6e"
        .parse()
        .expect("this is an id")
}

/// Its record.
pub(crate) fn info(state: &str, last_event: u64) -> Value {
    json!({
        "id": id(), "state": state, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        "image": "debian:12", "network": "sealed", "limits": {"memory_bytes": 1, "milli_cpus": 1, "pids": 1},
        "workspace": {"kind": "empty"}, "user": {"uid": 1, "gid": 1}, "agent": "claude", "turns": 0,
        "last_event": last_event, "cost_usd": 0.0,
    })
}

/// Whether two futures in a row saw the same thing soon; a test that waits for ever is ended from outside.
pub(crate) async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
