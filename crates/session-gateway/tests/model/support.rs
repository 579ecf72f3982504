//! A session's end of a tunnel, and a small provider on loopback that answers as a test says.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use session_core::budget::Budget;
use session_core::gateway::{ModelApi, ProviderAccount};
use session_core::id::SessionId;
use session_gateway::GatewayError;
use session_gateway::model::{
    Access, BaseUrl, Credential, CredentialSource, Limits, ModelProxy, ModelProxyConfig, RetryPolicy, Terms,
};
use testkit::ledger::MemoryLedger;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The operator's key, which must never be seen on the session's side.
pub(crate) const KEY: &str = "sk-ant-canary-key-0123456789";
/// The session's token.
pub(crate) const TOKEN: &str = "session-token-0123456789";

/// A body of a test, whole or in pieces.
pub(crate) type TestBody = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer of the scripted provider.
pub(crate) type Answer = Response<TestBody>;

/// A whole body.
pub(crate) fn full(body: impl Into<Bytes>) -> TestBody {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that a test sends piece by piece; an `Err` breaks it off.
pub(crate) fn pieces() -> (mpsc::Sender<std::io::Result<Bytes>>, TestBody) {
    let (sender, mut receiver) = mpsc::channel::<std::io::Result<Bytes>>(1);
    let stream = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let frames = futures::StreamExt::map(stream, |piece| piece.map(Frame::data));
    (sender, StreamBody::new(frames).boxed_unsync())
}

/// A piece, and then what comes.
pub(crate) fn chain(first: Bytes, rest: TestBody) -> TestBody {
    let first = futures::stream::once(async move { Ok(Frame::data(first)) });
    let rest = http_body_util::BodyStream::new(rest);
    StreamBody::new(futures::StreamExt::chain(first, rest)).boxed_unsync()
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &'static str) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(full(body))
        .unwrap()
}

/// The provider, and what it was asked.
pub(crate) struct Provider {
    pub(crate) base: BaseUrl,
    seen: Arc<Mutex<Vec<Parts>>>,
}

impl Provider {
    /// A provider that answers each request with `answer`.
    pub(crate) async fn start<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    log.lock().unwrap().push(parts.clone());
                    let answer = answer(Request::from_parts(parts, body));
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { base, seen }
    }

    /// A provider that reads one request's head and writes these bytes, one write each, then closes.
    pub(crate) async fn start_raw(writes: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let writes = writes.clone();
                tokio::spawn(async move {
                    stream.set_nodelay(true).unwrap();
                    let mut head = Vec::new();
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    for write in writes {
                        stream.write_all(&write).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    stream.shutdown().await.unwrap();
                });
            }
        });
        Self {
            base,
            seen: Arc::default(),
        }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Parts> {
        self.seen.lock().unwrap().clone()
    }
}

/// The key as a credential.
pub(crate) fn credential(key: &str) -> Credential {
    Credential::api_key(&SecretString::from(key)).unwrap()
}

/// What a session is let in with.
pub(crate) fn access(token: &str, account: Option<ProviderAccount>, ledger: &MemoryLedger) -> Access {
    Access {
        token: token.into(),
        account,
        terms: Terms {
            budget: Budget::default(),
            ledger: Arc::new(ledger.clone()),
        },
    }
}

/// Asks each provider once, and at once: what tests are about that are not about retries.
pub(crate) const ONCE: RetryPolicy = RetryPolicy {
    attempts: 1,
    first_wait: Duration::ZERO,
    longest_wait: Duration::ZERO,
    pause: Duration::ZERO,
};

/// A proxy with one session.
pub(crate) struct Fixture {
    pub(crate) proxy: ModelProxy,
    pub(crate) credential: CredentialSource,
    pub(crate) session: SessionId,
    pub(crate) ledger: MemoryLedger,
    pub(crate) api: ModelApi,
}

impl Fixture {
    pub(crate) async fn new(base: &BaseUrl) -> Self {
        Self::with_limits(base, Limits::default()).await
    }

    pub(crate) async fn with_limits(base: &BaseUrl, limits: Limits) -> Self {
        let credential = CredentialSource::new(Some(credential(KEY)));
        let config = ModelProxyConfig {
            retry: ONCE,
            limits,
            ..ModelProxyConfig::messages(base.clone(), credential.clone())
        };
        let mut fixture = Self::with(config, None).await;
        fixture.credential = credential;
        fixture
    }

    /// A proxy of this kind with one session, which may have an account of its own.
    pub(crate) async fn with(config: ModelProxyConfig, account: Option<ProviderAccount>) -> Self {
        let proxy = ModelProxy::new(config);
        let session = SessionId::new();
        let ledger = MemoryLedger::default();
        let api = proxy
            .register(session, access(TOKEN, account, &ledger))
            .await
            .unwrap();
        Self {
            proxy,
            credential: CredentialSource::default(),
            session,
            ledger,
            api,
        }
    }

    /// Registers a session, this one or another.
    pub(crate) async fn register(
        &self,
        session: SessionId,
        token: &str,
        key: Option<&str>,
    ) -> Result<ModelApi, GatewayError> {
        let account = key.map(|key| ProviderAccount::ApiKey(key.into()));
        self.proxy
            .register(session, access(token, account, &self.ledger))
            .await
    }

    /// A connection from inside, as bytes.
    pub(crate) fn dial(&self) -> DuplexStream {
        let (inside, outside) = tokio::io::duplex(16 * 1024);
        let (proxy, session) = (self.proxy.clone(), self.session);
        tokio::spawn(async move { proxy.serve(&session, outside, std::future::pending()).await });
        inside
    }

    /// A connection from inside, as HTTP.
    pub(crate) async fn connect(&self) -> SendRequest<TestBody> {
        connect(self.dial()).await
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<TestBody>) -> Response<Incoming> {
        self.connect().await.send_request(request).await.unwrap()
    }

    /// Sends these bytes, ends the sending side, and reads all that comes back.
    pub(crate) async fn send_raw(&self, bytes: &[u8]) -> String {
        let mut inside = self.dial();
        inside.write_all(bytes).await.unwrap();
        inside.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // An error here is the end of a connection that was refused in the middle of a request.
        let _ended = tokio::time::timeout(Duration::from_secs(10), inside.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8(answer).unwrap()
    }
}

/// An HTTP connection over a stream.
pub(crate) async fn connect(stream: DuplexStream) -> SendRequest<TestBody> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A request as the agent makes it.
pub(crate) fn messages(body: TestBody) -> Request<TestBody> {
    Request::post("/v1/messages?beta=true")
        .header("host", "127.0.0.1:9101")
        .header("x-api-key", TOKEN)
        .header("anthropic-version", "2023-06-01")
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

/// A small request as the agent makes it.
pub(crate) fn prompt() -> Request<TestBody> {
    messages(full("{}"))
}

/// The whole body.
pub(crate) async fn read(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// The type and the message of an error body, after a check of its shape.
pub(crate) async fn error_of(response: Response<Incoming>) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: serde_json::Value = serde_json::from_slice(&read(response).await).unwrap();
    assert_eq!(body["type"], "error");
    let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (status, text("type"), text("message"))
}
