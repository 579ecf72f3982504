//! HTTP as somebody writes it who does not keep to any rules.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Site, TOKEN};

/// How a client begins.
pub(in crate::mcp::door) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#;

/// One connection.
pub(in crate::mcp::door) struct Raw {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    /// Sent with each request, unless that has its own.
    pub(in crate::mcp::door) headers: Vec<(&'static str, String)>,
}

/// The metadata that each request of the newest revision has.
pub(in crate::mcp::door) fn modern_meta(capabilities: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

impl Raw {
    pub(in crate::mcp::door) async fn connect(site: &Site) -> Self {
        let stream = TcpStream::connect(site.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self {
            sender,
            host: site.address.to_string(),
            headers: vec![
                ("authorization", format!("Bearer {TOKEN}")),
                ("content-type", "application/json".to_owned()),
                ("accept", "application/json, text/event-stream".to_owned()),
            ],
        }
    }

    pub(in crate::mcp::door) async fn send(
        &mut self,
        method: Method,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<hyper::body::Incoming> {
        let mut request = Request::builder().method(method).uri("/mcp");
        let given = |name: &str| headers.iter().any(|(given, _)| *given == name);
        if !given("host") {
            request = request.header("host", &self.host);
        }
        for (name, value) in &self.headers {
            if !given(name) {
                request = request.header(*name, value);
            }
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    /// Posts a body and reads the whole answer.
    pub(in crate::mcp::door) async fn post(
        &mut self,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> (StatusCode, HeaderMap, String) {
        let answer = self.send(Method::POST, headers, body).await;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            String::from_utf8_lossy(&body).into_owned(),
        )
    }

    /// Begins a session of the protocol on this connection.
    pub(in crate::mcp::door) async fn initialize(&mut self, capabilities: Value) -> Value {
        let message = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": { "name": "raw", "version": "1" },
        }});
        let (status, headers, body) = self.post(&[], message.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let id = headers["mcp-session-id"].to_str().unwrap().to_owned();
        self.headers.push(("mcp-session-id", id));
        self.headers
            .push(("mcp-protocol-version", "2025-11-25".to_owned()));
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let (status, ..) = self.post(&[], initialized.to_string()).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        event_of(&body)["result"].clone()
    }

    /// One request of the newest revision, as its headers and body have to be.
    pub(in crate::mcp::door) async fn modern(
        &mut self,
        method: &str,
        params: Value,
        capabilities: &Value,
    ) -> Value {
        let (_, _, body) = self.modern_raw(method, params, capabilities).await;
        event_of(&body)
    }

    pub(in crate::mcp::door) async fn modern_raw(
        &mut self,
        method: &str,
        mut params: Value,
        capabilities: &Value,
    ) -> (StatusCode, HeaderMap, String) {
        let meta = modern_meta(capabilities);
        match params.get_mut("_meta").and_then(Value::as_object_mut) {
            Some(given) => given.extend(meta.as_object().unwrap().clone()),
            None => params["_meta"] = meta,
        }
        let name = params
            .get("name")
            .or(params.get("uri"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let headers = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
            ("mcp-name", &name),
        ];
        self.post(&headers, message).await
    }
}

/// The last message of an answer: its events, or the JSON that it is.
pub(in crate::mcp::door) fn event_of(body: &str) -> Value {
    if let Ok(value) = serde_json::from_str(body) {
        return value;
    }
    let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
    let mut messages = events.filter_map(|data| serde_json::from_str(data.trim()).ok());
    messages
        .next_back()
        .unwrap_or_else(|| panic!("no message in {body:?}"))
}
