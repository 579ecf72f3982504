//! A server over HTTP that says what a test wants.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A server that answers every request in one way, and what it was asked.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub(crate) async fn start<A>(answer: A) -> Self
    where
        A: Fn(&Request<()>, &[u8]) -> Response<Full<Bytes>> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, noted) = (Arc::new(answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, noted) = (Arc::clone(&answer), Arc::clone(&noted));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, noted) = (Arc::clone(&answer), Arc::clone(&noted));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        noted
                            .lock()
                            .unwrap()
                            .push(format!("{} {}", head.method, head.uri));
                        Ok::<_, Infallible>(answer(&Request::from_parts(head, ()), &body))
                    }
                });
                tokio::spawn(async move {
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, asked, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn answer(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let builder = Response::builder().status(status).header("content-type", kind);
    builder.body(Full::new(body.into())).unwrap()
}

/// What a server of the time before says to its handshake; `None` to everything else.
pub(crate) fn handshake(body: &[u8]) -> Option<Response<Full<Bytes>>> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let id = &request["id"];
    let said = match request["method"].as_str()? {
        "server/discover" => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "unknown" } })
        }
        "initialize" => json!({ "jsonrpc": "2.0", "id": id, "result": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": "x", "version": "1" },
        } }),
        "notifications/initialized" => return Some(answer(202, "text/plain", "")),
        _ => return None,
    };
    Some(answer(200, "application/json", said.to_string()))
}
