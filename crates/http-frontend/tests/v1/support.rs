//! A server over a real manager with an engine in memory, and its clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http_api::ServerInfo;
use http_body_util::BodyExt;
use http_frontend::caller::Scope;
use http_frontend::tokens::{NewToken, TokenFile};
use http_frontend::{HttpOptions, HttpServer, Listeners, ServerControl};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use session_core::id::SessionId;
use session_core::manager::SessionManager;
use session_core::state_dir::StateDir;
use testkit::harness::Site;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything may take that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The process around the server.
#[derive(Default)]
pub(crate) struct Control {
    /// How often it was told to stop.
    pub(crate) stops: AtomicUsize,
    /// Whether it has nothing to do.
    pub(crate) idle: AtomicBool,
}

#[async_trait]
impl ServerControl for Control {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: "0".to_owned(),
            pid: 7,
            started_at: Timestamp::UNIX_EPOCH,
            settings: "s".to_owned(),
            settings_without_credentials: String::new(),
            auto_started: false,
            working: !self.idle.load(Ordering::Relaxed),
        }
    }

    fn stop(&self) {
        self.stops.fetch_add(1, Ordering::Relaxed);
    }

    async fn ready(&self) -> session_core::error::Result<()> {
        Ok(())
    }
}

/// A server and everything beneath it.
pub(crate) struct House {
    pub(crate) site: Site,
    pub(crate) control: Arc<Control>,
    pub(crate) admin: Asker,
    tokens: TokenFile,
    address: SocketAddr,
}

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct Asker {
    client: Client<HttpConnector, Body>,
    address: SocketAddr,
    token: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut HttpOptions)) -> Self {
        let site = Site::new().unwrap();
        let state = StateDir::open(&site.state_dir()).unwrap();
        let tokens = TokenFile::of(&state);
        let engine = Arc::new(site.faulty.clone());
        let manager = SessionManager::open(state, site.options(), engine, site.gateway.clone())
            .await
            .unwrap();
        let mut options = HttpOptions {
            tokens: Some(tokens.clone()),
            ..HttpOptions::default()
        };
        options.audit = Some(manager.audit_log());
        change(&mut options);
        let control = Arc::new(Control::default());
        let server = HttpServer::new(Arc::new(manager), options, control.clone());
        let admin = make_token(&tokens, "admin", Scope::Admin);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = Listeners {
            unix: None,
            tcp: vec![(listener, None)],
        };
        tokio::spawn(async move { server.serve(listeners, std::future::pending()).await });
        Self {
            admin: Asker::new(address, admin),
            site,
            control,
            tokens,
            address,
        }
    }

    /// Somebody else.
    pub(crate) fn asker(&self, name: &str, scope: Scope) -> Asker {
        Asker::new(self.address, make_token(&self.tokens, name, scope))
    }

    /// A session of nobody in particular.
    pub(crate) async fn session(&self) -> SessionId {
        let made = self.admin.post("/v1/sessions", json!({})).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().unwrap().parse().unwrap()
    }
}

fn make_token(tokens: &TokenFile, name: &str, scope: Scope) -> String {
    let token = NewToken {
        name: name.to_owned(),
        scope,
        all_sessions: false,
        expires_at: None,
    };
    tokens.create(token).unwrap().1.expose_secret().to_owned()
}

impl Asker {
    fn new(address: SocketAddr, token: String) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            address,
            token,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {}", self.token))
    }

    /// Sends a request and takes the answer whole.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let asking = async {
            let (parts, body) = self.client.request(request).await.unwrap().into_parts();
            Reply {
                status: parts.status,
                headers: parts.headers,
                body: body.collect().await.unwrap().to_bytes(),
            }
        };
        tokio::time::timeout(SOON, asking).await.unwrap()
    }

    /// Sends a request and takes the answer as it comes; an item that is none is where it broke off.
    pub(crate) async fn stream(
        &self,
        request: Request<Body>,
    ) -> impl futures::Stream<Item = Option<Bytes>> + Unpin + use<> {
        let answer = self.client.request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
        let pieces = answer.into_body().into_data_stream();
        Box::pin(pieces.map(Result::ok))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(self.request(Method::DELETE, path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn poke(&self, path: &str) -> Reply {
        self.send(self.request(Method::POST, path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_with(path, body, &[]).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: Value, headers: &[(&str, &str)]) -> Reply {
        self.post_text(path, body.to_string(), headers).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: String, headers: &[(&str, &str)]) -> Reply {
        let mut request = self
            .request(Method::POST, path)
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Server-sent events, one by one.
    pub(crate) async fn follow(&self, path: &str, last: Option<u64>) -> Notices {
        let mut request = self.request(Method::GET, path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let pieces = self.stream(request.body(Body::empty()).unwrap()).await;
        Notices {
            pieces: Box::pin(pieces),
            read: String::new(),
        }
    }

    /// A WebSocket, or the status of the refusal.
    pub(crate) async fn socket(&self, path: &str) -> Result<Socket, u16> {
        let mut request = format!("ws://{}{path}", self.address)
            .into_client_request()
            .unwrap();
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let stream = TcpStream::connect(self.address).await.unwrap();
        let config = Some(WebSocketConfig::default());
        let stream = MaybeTlsStream::Plain(stream);
        match tokio_tungstenite::client_async_with_config(request, stream, config).await {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The code of a problem, which it has to be.
    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Server-sent events as they come.
pub(crate) struct Notices {
    pieces: std::pin::Pin<Box<dyn futures::Stream<Item = Option<Bytes>> + Send>>,
    read: String,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Notices {
    /// The next; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Notice> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let notice = notice(event);
                self.read = rest.to_owned();
                match notice {
                    Some(notice) => return Some(notice),
                    None => continue,
                }
            }
            let piece = tokio::time::timeout(SOON, self.pieces.next()).await.unwrap()?;
            let piece = piece.expect("the stream broke off");
            self.read.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}

/// An event; `None` for a comment.
fn notice(text: &str) -> Option<Notice> {
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    Some(Notice {
        id: field("id").map_or(0, |id| id.parse().unwrap()),
        name: field("event")?,
        data: serde_json::from_str(&field("data")?).unwrap(),
    })
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A WebSocket.
pub(crate) struct Socket(Stream);

/// What is said to a server.
pub(crate) enum Said {
    Text(Value),
    Bytes(Bytes),
}

/// What a server says.
#[derive(Debug)]
pub(crate) enum Heard {
    Text(Value),
    Bytes(Bytes),
}

/// One direction of a socket.
pub(crate) struct Speaking(SplitSink<Stream, Message>);

/// The other one.
pub(crate) struct Hearing(SplitStream<Stream>);

impl Socket {
    pub(crate) fn split(self) -> (Speaking, Hearing) {
        let (sink, stream) = self.0.split();
        (Speaking(sink), Hearing(stream))
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The beginning of a message that does not end.
    pub(crate) async fn begin(&mut self, text: &'static str) {
        let frame = Frame::message(text, OpCode::Data(Data::Text), false);
        self.0.send(Message::Frame(frame)).await.unwrap();
    }

    /// Whether the connection took a sign of life.
    pub(crate) async fn ping(&mut self) -> bool {
        self.0.send(Message::Ping(Bytes::new())).await.is_ok()
    }

    pub(crate) async fn write(&mut self, bytes: impl Into<Bytes>) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    /// What the server says next; `None` when it closes.
    pub(crate) async fn hear(&mut self) -> Option<Heard> {
        hear(&mut self.0).await
    }

    /// Whether the server says nothing for a while.
    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.0.next())
            .await
            .is_err()
    }

    pub(crate) async fn text(&mut self) -> Value {
        match self.hear().await {
            Some(Heard::Text(text)) => text,
            other => panic!("{other:?} instead of text"),
        }
    }
}

impl Speaking {
    pub(crate) async fn say(&mut self, said: Said) {
        let message = match said {
            Said::Text(frame) => Message::text(frame.to_string()),
            Said::Bytes(bytes) => Message::binary(bytes),
        };
        // A server that has said its last word takes nothing any more.
        let _ = self.0.send(message).await;
    }
}

impl Hearing {
    pub(crate) async fn hear(&mut self) -> Option<Heard> {
        hear(&mut self.0).await
    }
}

async fn hear(messages: &mut (impl Messages + Unpin)) -> Option<Heard> {
    loop {
        let message = tokio::time::timeout(SOON, messages.next()).await.unwrap()?;
        return match message.ok()? {
            Message::Text(text) => Some(Heard::Text(serde_json::from_str(&text).unwrap())),
            Message::Binary(bytes) => Some(Heard::Bytes(bytes)),
            Message::Close(_) => None,
            _ => continue,
        };
    }
}

/// What comes over a WebSocket.
trait Messages: futures::Stream<Item = Result<Message, tungstenite::Error>> {}
impl<T: futures::Stream<Item = Result<Message, tungstenite::Error>>> Messages for T {}
