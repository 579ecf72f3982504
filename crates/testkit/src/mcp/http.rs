//! Streamable HTTP: one path, sessions by header, answers as JSON or, when something comes before them, as events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::session::{Session, World};
use super::{Mode, Options, Transport};

const SESSION: &str = "mcp-session-id";
/// The longest request that is read.
const MAX_BODY: usize = 64 << 20;
/// Messages that wait for their reader.
const QUEUE: usize = 64;
/// Requests whose credentials are remembered.
const REMEMBERED: usize = 10_000;

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// The server on a loopback port, in this process. Dropping it ends it at once.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    world: Arc<World>,
    sessions: Mutex<HashMap<String, Client>>,
    made: AtomicU64,
    authorizations: Mutex<Vec<String>>,
    requests: AtomicU64,
    /// Instead of an answer, when it is not 0.
    failing: AtomicU64,
}

/// A client between its requests.
struct Client {
    session: Arc<Session>,
    /// Until somebody listens.
    notices: Option<mpsc::Receiver<Value>>,
    /// What is being worked on; it goes with the session.
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpServer {
    /// Listens where [`Transport::Http`] says, or on a port of 127.0.0.1 that the system chooses.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(options: Options) -> io::Result<Self> {
        let address = match options.transport {
            Transport::Http(address) => address,
            _ => (Ipv4Addr::LOCALHOST, 0).into(),
        };
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            world: World::new(options),
            sessions: Mutex::default(),
            made: AtomicU64::new(0),
            authorizations: Mutex::default(),
            requests: AtomicU64::new(0),
            failing: AtomicU64::new(0),
        });
        let task = tokio::spawn(serve(listener, state.clone()));
        Ok(Self { address, state, task })
    }

    /// Where it is, with the path.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What requests bore as `Authorization`, in order, the same only once in a row.
    pub fn authorizations(&self) -> Vec<String> {
        locked(&self.state.authorizations).clone()
    }

    /// How many requests came, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// How many tools were called.
    pub fn calls(&self) -> u64 {
        self.state.world.calls.load(Ordering::Relaxed)
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        locked(&self.state.sessions).len()
    }

    /// Forgets every session, as a server does that was started anew. What is under way is cut off.
    pub fn forget_sessions(&self) {
        locked(&self.state.sessions).clear();
    }

    /// Answers every request with this status from now on, or properly again when `None`.
    pub fn fail_with(&self, status: Option<u16>) {
        self.state
            .failing
            .store(status.map_or(0, u64::from), Ordering::Relaxed);
    }

    /// Waits until somebody has called `crash`.
    pub async fn crashed(&mut self) {
        self.state.world.crashes().await;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // The task owns the listener and the connections. What the sessions work on goes with the state.
        self.task.abort();
        locked(&self.state.sessions).clear();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Cancel-safe, as is `join_next`.
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // A failure only makes it slower.
                let _ = stream.set_nodelay(true);
                let state = state.clone();
                let answer = service_fn(move |request| answer(state.clone(), request));
                connections.spawn(async move {
                    let io = TokioIo::new(stream);
                    let _ = http1::Builder::new().serve_connection(io, answer).await;
                });
            }
            Some(_) = connections.join_next() => {}
            // As a process that ends: nobody gets an answer any more.
            () = state.world.crashes() => return connections.shutdown().await,
        }
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let bearer = request.headers().get(AUTHORIZATION);
    let bearer = bearer.and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(bearer) = &bearer {
        let mut seen = locked(&state.authorizations);
        if seen.last() != Some(bearer) && seen.len() < REMEMBERED {
            seen.push(bearer.clone());
        }
    }
    let failing = u16::try_from(state.failing.load(Ordering::Relaxed)).unwrap_or_default();
    if let Ok(status) = StatusCode::from_u16(failing) {
        return Ok(bare(status));
    }
    if request.uri().path() != "/mcp" {
        return Ok(bare(StatusCode::NOT_FOUND));
    }
    let token = bearer
        .as_deref()
        .and_then(|bearer| bearer.strip_prefix("Bearer "));
    if state.world.options.bearer.is_some() && state.world.options.bearer.as_deref() != token {
        let mut refused = bare(StatusCode::UNAUTHORIZED);
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        return Ok(refused);
    }
    let token = token.map(str::len);
    Ok(match *request.method() {
        Method::POST => state.post(request, token).await,
        Method::GET => state.get(&request),
        Method::DELETE => state.delete(&request),
        _ => bare(StatusCode::METHOD_NOT_ALLOWED),
    })
}

fn named(request: &Request<Incoming>) -> Option<String> {
    let name = request.headers().get(SESSION)?;
    name.to_str().ok().map(str::to_owned)
}

impl State {
    async fn post(&self, request: Request<Incoming>, token: Option<usize>) -> Response<Body> {
        let name = named(&request);
        let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
        let message = body
            .ok()
            .and_then(|body| serde_json::from_slice::<Value>(&body.to_bytes()).ok());
        let Some(message) = message else {
            return bare(StatusCode::BAD_REQUEST);
        };
        let begins = message["method"] == "initialize";
        let name = match name {
            None if begins || self.world.options.stateless => self.begin(token),
            None => return bare(StatusCode::BAD_REQUEST),
            Some(name) => name,
        };
        let asked = message.get("method").is_some() && message.get("id").is_some();
        let (port, messages) = mpsc::channel(QUEUE);
        let answers = message["id"].clone();
        {
            let mut sessions = locked(&self.sessions);
            let Some(client) = sessions.get_mut(&name) else {
                return bare(StatusCode::NOT_FOUND);
            };
            while client.tasks.try_join_next().is_some() {}
            let session = client.session.clone();
            if message["method"] == "notifications/initialized" && self.world.options.has(Mode::Flood) {
                let session = session.clone();
                client.tasks.spawn(async move { session.flood().await });
            }
            client
                .tasks
                .spawn(async move { session.take(message, &port).await });
        }
        if !asked {
            return bare(StatusCode::ACCEPTED);
        }
        let mut response = replies(messages, answers).await;
        if begins
            && !self.world.options.stateless
            && let Ok(name) = HeaderValue::from_str(&name)
        {
            response.headers_mut().insert(SESSION, name);
        }
        response
    }

    fn begin(&self, token: Option<usize>) -> String {
        let name = format!("session-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let (port, notices) = mpsc::channel(QUEUE);
        let client = Client {
            session: Session::new(self.world.clone(), port, token),
            notices: Some(notices),
            tasks: JoinSet::new(),
        };
        let mut sessions = locked(&self.sessions);
        if self.world.options.stateless {
            // Nobody comes back to one; what it works on is not cut off by the next.
            sessions.retain(|_, client| {
                while client.tasks.try_join_next().is_some() {}
                !client.tasks.is_empty()
            });
        }
        sessions.insert(name.clone(), client);
        name
    }

    fn get(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut sessions = locked(&self.sessions);
        let Some(client) = named(request).and_then(|name| sessions.get_mut(&name)) else {
            return bare(StatusCode::NOT_FOUND);
        };
        match client.notices.take() {
            Some(notices) => events(None, notices, Value::Null),
            None => bare(StatusCode::CONFLICT),
        }
    }

    fn delete(&self, request: &Request<Incoming>) -> Response<Body> {
        let ended = named(request).and_then(|name| locked(&self.sessions).remove(&name));
        bare(match ended {
            Some(_) => StatusCode::OK,
            None => StatusCode::NOT_FOUND,
        })
    }
}

fn is_answer(message: &Value, id: &Value) -> bool {
    message.get("method").is_none() && message["id"] == *id
}

/// JSON when the answer is the first thing that comes, and else events up to it.
async fn replies(mut messages: mpsc::Receiver<Value>, id: Value) -> Response<Body> {
    match messages.recv().await {
        Some(first) if is_answer(&first, &id) => whole(StatusCode::OK, first.to_string()),
        Some(first) => events(Some(first), messages, id),
        // It was cancelled, or its session is gone.
        None => bare(StatusCode::ACCEPTED),
    }
}

/// Events until the answer to `id` has come, or for ever.
fn events(first: Option<Value>, messages: mpsc::Receiver<Value>, id: Value) -> Response<Body> {
    let frames = stream::unfold(Some((first, messages)), move |state| {
        let id = id.clone();
        async move {
            let (first, mut messages) = state?;
            let message = match first {
                Some(first) => first,
                None => messages.recv().await?,
            };
            let frame = Frame::data(Bytes::from(format!("event: message\ndata: {message}\n\n")));
            let next = (!is_answer(&message, &id)).then_some((None, messages));
            Some((Ok(frame), next))
        }
    });
    let mut response = Response::new(StreamBody::new(frames.boxed()));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn whole(status: StatusCode, text: String) -> Response<Body> {
    let frame = stream::once(async move { Ok(Frame::data(Bytes::from(text))) });
    let mut response = Response::new(StreamBody::new(frame.boxed()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(stream::empty().boxed()));
    *response.status_mut() = status;
    response
}
