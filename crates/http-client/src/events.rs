//! The stream of a session's events, over as many connections as it takes.
//!
//! Events are numbered without gaps, so the number of the last one that was handed on says where to go on. A connection
//! that breaks is made anew after a while, from there; the caller sees one stream without gap or duplicate. Only when no
//! connection has told anything new for [`PATIENCE`] does the stream end with an error.
//!
//! A server that stops in order ends its streams as a session's end does. An end is believed when the last event was that
//! of the session's end, or when the session's record says that it has ended and nothing more is to come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderValue};
use session_core::api::EventStream;
use session_core::error::{Error, Result};
use session_core::event::{Event, EventKind};
use session_core::id::SessionId;
use session_core::state::{SessionState, StateName};
use sse_stream::{Sse, SseStream};

use crate::transport::{Call, Transport};
use crate::{answer, sessions};

const OPERATION: &str = "follow the session";
/// The name of the message that tells why a stream fails. No event is called so.
const FAILURE: &str = "error";
/// How long a connection may be silent. The server sends a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest event.
const MAX_EVENT: usize = 64 << 20;
/// For about how long it is tried to go on after nothing new was told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the stream of the events after `after`. That there is such a session is known when it returns.
pub(crate) async fn follow(transport: Arc<Transport>, session: SessionId, after: u64) -> Result<EventStream> {
    let mut follower = Follower {
        transport,
        session,
        last: after,
        ended: false,
        told: false,
        connection: None,
        waits: waits(),
    };
    follower.connection = Some(follower.connect().await?);
    // After an error, as after the end, there is no follower any more and so nothing more to give.
    let events = stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(follower))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(events.fuse().boxed())
}

struct Follower {
    transport: Arc<Transport>,
    session: SessionId,
    /// The number of the last event that was handed on.
    last: u64,
    /// The last event was that of the session's end.
    ended: bool,
    /// This connection has told something.
    told: bool,
    connection: Option<Connection>,
    /// How long to wait before each further connection.
    waits: ExponentialBackoff,
}

/// What one connection tells.
type Connection = BoxStream<'static, Result<Sse, sse_stream::Error>>;

/// What became of a connection.
enum Turn {
    Event(Box<Event>),
    /// It is over, as the server wanted.
    End,
    /// It broke.
    Lost(Error),
}

impl Follower {
    /// Cancel-safe: what was read is handed on by the same poll.
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            let Some(connection) = &mut self.connection else {
                self.reconnect().await?;
                continue;
            };
            let turn = read(self.transport.as_ref(), connection).await?;
            match turn {
                Turn::Event(event) if event.seq <= self.last => {}
                Turn::Event(event) if event.seq == self.last + 1 => {
                    self.last = event.seq;
                    self.ended = ends(&event.kind);
                    self.told = true;
                    self.waits = waits();
                    return Ok(Some(*event));
                }
                Turn::Event(event) => {
                    let told = format!("event {} after {}", event.seq, self.last);
                    return Err(self.transport.asked(OPERATION).strange(told));
                }
                Turn::End if self.ended => return Ok(None),
                Turn::End => {
                    self.connection = None;
                    if self.is_over().await? {
                        return Ok(None);
                    }
                }
                Turn::Lost(error) => {
                    tracing::debug!(session = %self.session, last = self.last, %error, "the stream of events broke");
                    self.connection = None;
                    self.wait(error).await?;
                }
            }
        }
    }

    async fn reconnect(&mut self) -> Result<()> {
        match self.connect().await {
            Ok(connection) => {
                self.told = false;
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) if error.is_retryable() => self.wait(error).await,
            Err(error) => Err(error),
        }
    }

    /// Whether the end of a connection was the end of the session; waits before the next connection when it was not.
    async fn is_over(&mut self) -> Result<bool> {
        let error = match sessions::record(&self.transport, &self.session).await {
            Ok(info) => {
                let complete = self.last >= info.last_event || !self.told;
                if is_end(&info.state) && complete {
                    return Ok(true);
                }
                self.transport
                    .asked(OPERATION)
                    .broken("the stream ended before the session did")
            }
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        self.wait(error).await?;
        Ok(false)
    }

    /// Waits before the next connection, or gives up.
    async fn wait(&mut self, error: Error) -> Result<()> {
        let Some(wait) = self.waits.next() else {
            return Err(error);
        };
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn connect(&mut self) -> Result<Connection> {
        let call = Call::get(OPERATION, http_api::paths::event_stream(&self.session, self.last))
            .header(ACCEPT, HeaderValue::from_static(http_api::headers::EVENT_STREAM));
        let response = self.transport.send(call).await?;
        answer::expect_type(
            self.transport.asked(OPERATION),
            &response,
            http_api::headers::EVENT_STREAM,
        )?;
        Ok(connection(response.into_body()))
    }
}

/// What the connection tells next.
async fn read(transport: &Transport, connection: &mut Connection) -> Result<Turn> {
    let asked = transport.asked(OPERATION);
    let told = match connection.next().await {
        None => return Ok(Turn::End),
        Some(Err(source)) => return Ok(Turn::Lost(asked.broken(source))),
        Some(Ok(told)) => told,
    };
    let data = told.data.unwrap_or_default();
    if told.event.as_deref() == Some(FAILURE) {
        let problem = serde_json::from_str(&data)
            .map_err(|source| asked.strange("a problem of another form").with_source(source))?;
        return Err(asked.problem(problem));
    }
    match serde_json::from_str(&data) {
        Ok(event) => Ok(Turn::Event(Box::new(event))),
        Err(source) => Err(asked.strange("an event of another form").with_source(source)),
    }
}

fn ends(kind: &EventKind) -> bool {
    matches!(kind, EventKind::StateChanged { to } if is_end(to))
}

fn is_end(state: &SessionState) -> bool {
    matches!(state.name(), StateName::Destroyed | StateName::Failed)
}

fn waits() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_total_delay(Some(PATIENCE))
        .without_max_times()
        .with_jitter()
        .build()
}

/// A failure of the bytes below the events.
#[derive(Debug)]
enum Broken {
    Body(hyper::Error),
    Silent,
    TooLong,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Body(_) => "the stream broke off",
            Self::Silent => "the server fell silent",
            Self::TooLong => "an event is too long",
        })
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(error),
            Self::Silent | Self::TooLong => None,
        }
    }
}

/// The events of a body. At most [`MAX_EVENT`] bytes are read for one, and none is waited for in silence.
fn connection(body: Incoming) -> Connection {
    let pending = Arc::new(AtomicUsize::new(0));
    let counted = pending.clone();
    let bytes = stream::try_unfold(body, move |mut body| {
        let pending = counted.clone();
        async move {
            loop {
                let frame = tokio::time::timeout(SILENCE, body.frame()).await;
                let Some(frame) = frame.map_err(|_silent| Broken::Silent)? else {
                    return Ok(None);
                };
                let Ok(data) = frame.map_err(Broken::Body)?.into_data() else {
                    continue;
                };
                if pending.fetch_add(data.len(), Ordering::Relaxed) + data.len() > MAX_EVENT {
                    return Err(Broken::TooLong);
                }
                return Ok::<_, Broken>(Some((data, body)));
            }
        }
    });
    let bytes: BoxStream<'static, Result<Bytes, Broken>> = bytes.boxed();
    SseStream::from_bytes_stream(bytes)
        .inspect_ok(move |_event| pending.store(0, Ordering::Relaxed))
        .boxed()
}
