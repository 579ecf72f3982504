//! WebSockets, opened on a connection of the pool.
//!
//! The request for one is a request as any other: a refusal is a problem and the connection stays in the pool. After the
//! switch the connection belongs to the socket alone and closes with it. What is read is read by whoever asks, so a reader
//! that is slow is felt by the server. The only task behind a socket says from time to time that this end is alive: a
//! reader that asks for nothing answers no ping, and may take hours over a page of output.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http_api::Problem;
use hyper::StatusCode;
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use session_core::error::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::failure::Asked;
use crate::transport::{Call, Transport};

/// The longest message of a server: output comes in far smaller pieces.
const MAX_MESSAGE: usize = 16 << 20;
/// What waits to be written, at most. Above the longest message of ours, a command with all its arguments.
const MAX_UNWRITTEN: usize = 32 << 20;
/// How long the first frame is waited for: a link to the session may have to be made.
const BEGINNING: Duration = Duration::from_secs(600);
/// How often the server is told that this end is alive. It gives up on whoever says nothing for 90 seconds.
const ALIVE: Duration = Duration::from_secs(25);
/// How long a failed write waits to learn what the reader reads.
const VERDICT: Duration = Duration::from_secs(1);
/// What is read ahead of a reader.
const READ_AHEAD: usize = 64 << 10;

type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// The half that writes. It works as long as there is one that reads.
pub(crate) struct Writer {
    sink: Mutex<Option<SplitSink<Stream, Message>>>,
    gone: CancellationToken,
    fate: watch::Sender<Fate>,
}

/// How it ended with what the socket is about, as the reader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody has read of an end.
    Open,
    /// It came to its own end.
    Ended,
    /// The server told that it failed, or the connection broke.
    Lost,
}

/// The half that reads. Dropping it closes the connection, whoever still holds the other half.
pub(crate) struct Reader {
    stream: SplitStream<Stream>,
    writer: Arc<Writer>,
    operation: &'static str,
    server: String,
    /// Ends with the reader.
    _alive: AbortOnDropHandle<()>,
}

/// A message of the server.
pub(crate) enum Said {
    /// A text frame.
    Text(tungstenite::Utf8Bytes),
    /// A binary frame.
    Binary(Bytes),
}

/// Asks for a WebSocket.
pub(crate) async fn open(
    transport: &Transport,
    operation: &'static str,
    target: String,
) -> Result<(Arc<Writer>, Reader)> {
    let asked = transport.asked(operation);
    let key = generate_key();
    let key_value = HeaderValue::try_from(&key).map_err(|source| {
        Error::new(ErrorKind::Internal, operation, "no key could be made").with_source(source)
    })?;
    let call = Call::get(operation, target)
        .header(CONNECTION, HeaderValue::from_static("upgrade"))
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
        .header(SEC_WEBSOCKET_KEY, key_value);
    let response = transport.exchange(&call).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        if response.status().is_success() {
            return Err(asked.strange("an answer where a WebSocket was asked for"));
        }
        return Err(transport.failure(operation, response).await);
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|value| value.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(asked.strange("a WebSocket that nobody asked for"));
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|source| asked.broken(source))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_AHEAD)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNWRITTEN)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await;
    let (sink, stream) = stream.split();
    let writer = Arc::new(Writer {
        sink: Mutex::new(Some(sink)),
        gone: CancellationToken::new(),
        fate: watch::Sender::new(Fate::Open),
    });
    let alive = tokio::spawn(say_alive(writer.clone()));
    let reader = Reader {
        _alive: AbortOnDropHandle::new(alive),
        stream,
        writer: writer.clone(),
        operation,
        server: transport.name().to_owned(),
    };
    Ok((writer, reader))
}

/// A pong that nobody asked for is what the protocol has for it.
async fn say_alive(writer: Arc<Writer>) {
    loop {
        tokio::time::sleep(ALIVE).await;
        if writer.send(Message::Pong(Bytes::new())).await.is_err() {
            return;
        }
    }
}

impl Writer {
    /// Sends bytes; waits while the server takes none. Cancelled, it has sent the whole frame or nothing of it.
    pub(crate) async fn bytes(&self, bytes: Bytes) -> Result<(), tungstenite::Error> {
        self.send(Message::Binary(bytes)).await
    }

    /// Sends a text frame.
    pub(crate) async fn tell(&self, frame: &impl Serialize) -> Result<(), tungstenite::Error> {
        let text = serde_json::to_string(frame).map_err(|error| tungstenite::Error::Io(error.into()))?;
        self.send(Message::text(text)).await
    }

    /// What the reader knows of the end. A connection closes with what it is about, so whoever fails to write has to know
    /// whether that was it; the reader may be about to read it.
    pub(crate) async fn fate(&self) -> Fate {
        let mut fate = self.fate.subscribe();
        let known = tokio::time::timeout(VERDICT, fate.wait_for(|fate| *fate != Fate::Open)).await;
        match known {
            Ok(Ok(fate)) => *fate,
            _ => Fate::Open,
        }
    }

    /// The same, without waiting.
    pub(crate) fn has_ended(&self) -> bool {
        *self.fate.borrow() == Fate::Ended
    }

    async fn send(&self, message: Message) -> Result<(), tungstenite::Error> {
        let closed = Err(tungstenite::Error::ConnectionClosed);
        let mut sink = self.sink.lock().await;
        let Some(open) = sink.as_mut() else {
            return closed;
        };
        tokio::select! {
            biased;
            () = self.gone.cancelled() => {
                *sink = None;
                closed
            }
            // Losing it keeps the frame in the sink's buffer or out of it, never half of it.
            sent = open.send(message) => sent,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Whoever writes now lets go of the sink, and finds none afterwards.
        self.writer.gone.cancel();
        if let Ok(mut sink) = self.writer.sink.try_lock() {
            *sink = None;
        }
    }
}

impl Reader {
    /// What errors of this socket are about.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            operation: self.operation,
            server: &self.server,
        }
    }

    /// What the server says next; `None` when it has closed the socket in order. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Said>> {
        loop {
            let message = match self.stream.next().await {
                None => return Ok(None),
                Some(message) => message.map_err(|error| self.failed(error))?,
            };
            return match message {
                Message::Text(text) => Ok(Some(Said::Text(text))),
                Message::Binary(bytes) => Ok(Some(Said::Binary(bytes))),
                Message::Close(_) => Ok(None),
                // Answered by the library, on the next read.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
        }
    }

    /// What the server says first, once it has done what was asked of it.
    pub(crate) async fn first(&mut self) -> Result<Said> {
        match tokio::time::timeout(BEGINNING, self.next()).await {
            Ok(Ok(Some(said))) => Ok(said),
            Ok(Ok(None)) => Err(self.asked().broken("it closed before anything was told")),
            Ok(Err(error)) => Err(error),
            Err(_late) => Err(self.asked().late()),
        }
    }

    /// Remembers what became of what the socket is about.
    pub(crate) fn settle(&self, fate: Fate) {
        self.writer.fate.send_replace(fate);
    }

    /// A text frame's meaning.
    pub(crate) fn understand<T: DeserializeOwned>(&self, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|source| {
            self.asked()
                .strange("a frame of another form")
                .with_source(source)
        })
    }

    pub(crate) fn problem(&self, problem: Problem) -> Error {
        self.asked().problem(problem)
    }

    fn failed(&self, error: tungstenite::Error) -> Error {
        match error {
            tungstenite::Error::Capacity(_) => self.asked().too_long(MAX_MESSAGE),
            tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
            | tungstenite::Error::Io(_) => self.asked().broken(error),
            tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_) => self
                .asked()
                .strange("frames that break the protocol")
                .with_source(error),
            other => self.asked().broken(other),
        }
    }
}
