//! A server over streamable HTTP, and clients that speak it byte for byte.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mcp_frontend::{HttpOptions, McpServer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, Shared};
use super::options;

pub(crate) const TOKEN: &str = "an-unguessable-token-0123";

pub(crate) struct Site {
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<session_core::error::Result<()>>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(HttpOptions::new(TOKEN.into())).await
    }

    pub(crate) async fn with(http: HttpOptions) -> Self {
        let fake = Arc::new(Fake::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut options = options();
        options.max_message = 1 << 20;
        let server = McpServer::new(Arc::new(Shared(fake.clone())), options);
        let served = tokio::spawn(server.serve_http(listener, http, shutdown.clone().cancelled_owned()));
        Self {
            fake,
            address,
            shutdown,
            served,
        }
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    pub(crate) fn request(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from(body.to_owned())));
        *request.method_mut() = method;
        *request.uri_mut() = "/mcp".parse().unwrap();
        let host = self.address.to_string();
        let usual = [
            ("host", host.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        for (name, value) in usual.iter().chain(headers) {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    pub(crate) async fn post(
        &self,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> (StatusCode, HeaderMap, String) {
        let response = self.send(self.request(Method::POST, headers, body)).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    /// A session of the protocol, in a revision that has them.
    pub(crate) async fn open(&self) -> Talk<'_> {
        let init = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } },
        });
        let (status, headers, _) = self
            .post(&[("authorization", &bearer())], &init.to_string())
            .await;
        assert_eq!(status, StatusCode::OK);
        let talk = Talk {
            site: self,
            session: headers["mcp-session-id"].to_str().unwrap().to_owned(),
        };
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(talk.post(&initialized).await.0, StatusCode::ACCEPTED);
        talk
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        self.served.await.unwrap().unwrap();
    }
}

pub(crate) struct Talk<'a> {
    site: &'a Site,
    session: String,
}

impl Talk<'_> {
    pub(crate) fn headers(&self) -> [(&'static str, String); 3] {
        [
            ("authorization", bearer()),
            ("mcp-session-id", self.session.clone()),
            ("mcp-protocol-version", "2025-11-25".to_owned()),
        ]
    }

    pub(crate) fn request(&self, message: &Value) -> Request<Full<Bytes>> {
        let headers = self.headers();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.site.request(Method::POST, &headers, &message.to_string())
    }

    pub(crate) async fn post(&self, message: &Value) -> (StatusCode, Vec<Value>) {
        let response = self.site.send(self.request(message)).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, events(&String::from_utf8_lossy(&body)))
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        let message = json!({
            "jsonrpc": "2.0", "id": 5, "method": "tools/call",
            "params": { "name": tool, "arguments": arguments, "_meta": { "progressToken": "p" } },
        });
        let (status, mut events) = self.post(&message).await;
        assert_eq!(status, StatusCode::OK);
        events.pop().unwrap()["result"].clone()
    }
}

pub(crate) fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// The messages of an event stream.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok())
        .collect()
}

pub(crate) const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
