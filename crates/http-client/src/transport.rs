//! Requests and the heads of their answers: a pool of connections, limits of time, and what may be asked twice.
//!
//! Three failures are told apart. Nothing was sent: the pool's connection had ended, and hyper takes another one, or there
//! is none to be had ([`crate::is_not_reached`]). Something may have been sent: what changes nothing when it is done
//! again ([`Repeat::Harmless`]) is asked once more on a fresh connection, all else is told. The answer came: it counts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use secrecy::{ExposeSecret, SecretString};
use session_core::error::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::answer;
use crate::connector::Connector;
use crate::failure::Asked;

/// How long a connection may wait in the pool for its next request: less than servers let one wait.
const IDLE: Duration = Duration::from_secs(20);
/// How many may wait.
const MAX_IDLE: usize = 16;
/// How many headers an answer may have.
const MAX_HEADERS: usize = 64;
/// Bytes of an answer's head, and of what is read ahead of a reader that is slow.
const MAX_BUFFER: usize = 256 << 10;

/// How this client names itself.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("cofferdam-http-client/", env!("CARGO_PKG_VERSION")));

/// A failure of a body on its way out: that of whoever gives the bytes.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// What goes out.
type Body = UnsyncBoxBody<Bytes, BodyError>;

/// How long the head of an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The server answers from what it knows.
    Short,
    /// The server asks a container or the engine, which it does not wait for longer itself.
    Long,
    /// The server waits for something that may take any time, such as an image or the caller's own archive.
    Endless,
}

impl Patience {
    fn limit(self) -> Option<Duration> {
        match self {
            Self::Short => Some(Duration::from_secs(30)),
            Self::Long => Some(Duration::from_secs(600)),
            Self::Endless => None,
        }
    }
}

/// What happens when the same request is made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// No more than when it is made once.
    Harmless,
    /// The same, for this very request: it bears a key that its caller does not know. Made anew, it would be another one.
    HarmlessHere,
    /// It is done twice.
    Harmful,
}

/// A request.
pub(crate) struct Call {
    /// What is done, as errors tell it.
    pub(crate) operation: &'static str,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
    patience: Patience,
    repeat: Repeat,
}

impl Call {
    /// A question that changes nothing.
    pub(crate) fn get(operation: &'static str, target: impl Into<String>) -> Self {
        Self::new(operation, Method::GET, target).repeat(Repeat::Harmless)
    }

    /// A change that must not be made twice, unless it is said.
    pub(crate) fn new(operation: &'static str, method: Method, target: impl Into<String>) -> Self {
        Self {
            operation,
            method,
            target: target.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            patience: Patience::Short,
            repeat: Repeat::Harmful,
        }
    }

    #[must_use]
    pub(crate) fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    #[must_use]
    pub(crate) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// A body of JSON.
    pub(crate) fn json(mut self, body: &impl serde::Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(body).map_err(|source| {
            Error::new(
                ErrorKind::InvalidArgument,
                self.operation,
                "this cannot be written as JSON",
            )
            .with_source(source)
        })?;
        self.body = bytes.into();
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(http_api::headers::JSON));
        Ok(self)
    }
}

/// The way to one server.
pub(crate) struct Transport {
    client: Client<Connector, Body>,
    origin: String,
    name: String,
    token: Option<HeaderValue>,
    connections: Connections,
}

impl Transport {
    pub(crate) fn new(address: Address, token: Option<&SecretString>) -> Result<Self> {
        let (origin, name) = (address.origin(), address.to_string());
        let connections = Connections::default();
        let client = Client::builder(connections.clone())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .retry_canceled_requests(true)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_BUFFER)
            .build(Connector(Arc::new(address)));
        Ok(Self {
            client,
            origin,
            name,
            token: token.map(bearer).transpose()?,
            connections,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn asked(&self, operation: &'static str) -> Asked<'_> {
        Asked {
            operation,
            server: &self.name,
        }
    }

    /// Ends every connection of the pool and waits until they have ended. Requests under way fail, and so do later ones.
    pub(crate) async fn close(&self) {
        self.connections.closing.cancel();
        self.connections.tasks.close();
        self.connections.tasks.wait().await;
    }

    /// The head of a good answer; a failure that the server tells is the error.
    ///
    /// Dropping the future ends the connection; whether the server did what it was asked to is not known then.
    pub(crate) async fn send(&self, call: Call) -> Result<Response<Incoming>> {
        let response = self.exchange(&call).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.failure(call.operation, response).await)
    }

    /// The head of whatever answer.
    pub(crate) async fn exchange(&self, call: &Call) -> Result<Response<Incoming>> {
        let asked = self.asked(call.operation);
        match self.once(call, full(call.body.clone())).await {
            Err(Failed::Broken(_)) if call.repeat != Repeat::Harmful => {}
            other => return other.map_err(|failed| failed.into_error(asked, call.repeat)),
        }
        let again = self.once(call, full(call.body.clone())).await;
        again.map_err(|failed| failed.into_error(asked, call.repeat))
    }

    /// The same with a body that is streamed. It can be read once, so it is sent once.
    pub(crate) async fn upload(
        &self,
        call: Call,
        body: impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
    ) -> Result<Response<Incoming>> {
        use futures::TryStreamExt;
        let body = StreamBody::new(body.map_ok(Frame::data)).boxed_unsync();
        let sent = self.once(&call, body).await;
        let response = sent.map_err(|failed| failed.into_error(self.asked(call.operation), call.repeat))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.failure(call.operation, response).await)
    }

    /// What an answer says that is no success.
    pub(crate) async fn failure(&self, operation: &'static str, response: Response<Incoming>) -> Error {
        let asked = self.asked(operation);
        let status = response.status();
        let retry_after = response.headers().get(hyper::header::RETRY_AFTER).cloned();
        let error = match answer::read(asked, response, answer::MAX_PROBLEM).await {
            Ok(body) => asked.refused(status, &body),
            Err(_) => asked.refused(status, b""),
        };
        match retry_after.as_ref().and_then(|value| value.to_str().ok()) {
            Some(seconds) => error.with_context("retry_after_s", seconds),
            None => error,
        }
    }

    async fn once(&self, call: &Call, body: Body) -> Result<Response<Incoming>, Failed> {
        if self.connections.closing.is_cancelled() {
            return Err(Failed::Closed);
        }
        let request = self.request(call, body).map_err(Failed::Unwritable)?;
        let answer = self.client.request(request);
        let answered = match call.patience.limit() {
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .map_err(|_late| Failed::Late)?,
            None => answer.await,
        };
        answered.map_err(|error| {
            if self.connections.closing.is_cancelled() {
                Failed::Closed
            } else if error.is_connect() {
                Failed::NotReached(error)
            } else {
                Failed::Broken(error)
            }
        })
    }

    fn request(&self, call: &Call, body: Body) -> Result<Request<Body>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.origin, call.target))
            .header(USER_AGENT, AGENT)
            .body(body)?;
        let headers = request.headers_mut();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, application/problem+json, */*"),
        );
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        headers.extend(call.headers.clone());
        Ok(request)
    }
}

/// How a request came to nothing.
enum Failed {
    /// Nothing was sent.
    NotReached(hyper_util::client::legacy::Error),
    /// It may have arrived.
    Broken(hyper_util::client::legacy::Error),
    /// It may have arrived.
    Late,
    Closed,
    Unwritable(hyper::http::Error),
}

impl Failed {
    fn into_error(self, asked: Asked<'_>, repeat: Repeat) -> Error {
        let doubtful = |error: Error| match repeat {
            Repeat::Harmless => error,
            // Whoever asks again asks for another one.
            Repeat::HarmlessHere | Repeat::Harmful => error
                .with_retryable(false)
                .with_hint("it may have been done all the same: look before you try again"),
        };
        match self {
            Self::NotReached(error) => asked.not_reached(error),
            Self::Broken(error) => doubtful(asked.broken(error)),
            Self::Late => doubtful(asked.late()),
            Self::Closed => asked.closed(),
            Self::Unwritable(source) => Error::new(
                ErrorKind::InvalidArgument,
                asked.operation,
                "this cannot be written as a request",
            )
            .with_source(source),
        }
    }
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn bearer(token: &SecretString) -> Result<HeaderValue> {
    let refuse = || {
        Error::new(ErrorKind::InvalidArgument, "read the token", "this is no token")
            .with_hint("a token is one word; `cofferdam token create` makes one")
    };
    let token = token.expose_secret();
    if token.is_empty() || token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(refuse());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| refuse())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Owns the tasks that drive connections. They end with the pool, at the latest when the client is closed.
#[derive(Clone, Default)]
struct Connections {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Connections {
    fn execute(&self, connection: F) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                // Dropped, it closes its connection; whoever waits for an answer learns that it broke.
                () = connection => {}
                () = closing.cancelled() => {}
            }
        });
    }
}
