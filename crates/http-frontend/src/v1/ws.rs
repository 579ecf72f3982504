//! WebSockets, as commands and terminals use them: made after the request was judged, kept alive, ended with the server.

use std::future::Future;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::UPGRADE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http_api::SurfaceCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Failure;
use crate::state::AppState;

/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// After how long without a word it is not.
const SILENCE: Duration = Duration::from_secs(90);
/// How long a client may take to say what it wants.
pub(crate) const FIRST_WORD: Duration = Duration::from_secs(30);
/// The longest message after the first.
const MAX_MESSAGE: usize = 1 << 20;

/// A request for a WebSocket, or the refusal of one that is none: told after everything else about it was judged.
#[derive(Debug)]
pub(crate) struct Upgrade(Result<WebSocketUpgrade, Failure>);

impl FromRequestParts<AppState> for Upgrade {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        // A HEAD is answered by the route of GET, and has no connection to upgrade.
        let head = parts.method == Method::HEAD;
        Ok(Self(
            match WebSocketUpgrade::from_request_parts(parts, state).await {
                Ok(upgrade) if !head => Ok(upgrade),
                _ => Err(
                    Failure::new(SurfaceCode::UpgradeRequired, "this address is a WebSocket's")
                        .with_hint("connect with a WebSocket client, version 13")
                        .with_header(UPGRADE, HeaderValue::from_static("websocket")),
                ),
            },
        ))
    }
}

impl Upgrade {
    /// The request.
    ///
    /// # Errors
    /// 426 when it is none.
    pub(crate) fn wanted(self) -> Result<Wanted, Failure> {
        self.0.map(Wanted)
    }
}

/// A request for a WebSocket.
pub(crate) struct Wanted(WebSocketUpgrade);

impl Wanted {
    /// Answers the request, and serves the socket to its end or to the server's. The first message may be as long as a
    /// body.
    pub(crate) fn serve<F>(
        self,
        state: &AppState,
        serve: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let closing = state.closing().clone();
        // The server's end waits for it.
        let counted = state.tasks().token();
        let longest = state.options().max_body.max(MAX_MESSAGE);
        self.0
            .max_message_size(longest)
            .max_frame_size(longest)
            .on_upgrade(async move |socket| {
                let _counted = counted;
                let (sink, stream) = socket.split();
                let socket = Socket {
                    outgoing: Outgoing(sink),
                    incoming: Incoming(stream),
                };
                // Cut at the server's end: what is served has no end of its own.
                closing.run_until_cancelled(serve(socket)).await;
            })
    }
}

/// Both directions.
pub(crate) struct Socket {
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// The direction to the client. Each message waits until the connection takes it.
pub(crate) struct Outgoing(SplitSink<WebSocket, Message>);

impl Outgoing {
    /// Sends JSON.
    pub(crate) async fn text<T: Serialize>(&mut self, frame: &T) -> Result<(), Gone> {
        let text = serde_json::to_string(frame).map_err(|error| {
            tracing::error!(%error, "a frame could not be written");
            Gone
        })?;
        self.send(Message::Text(text.into())).await
    }

    /// Sends bytes.
    pub(crate) async fn binary(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.send(Message::Binary(bytes)).await
    }

    async fn ping(&mut self) -> Result<(), Gone> {
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        self.0.send(message).await.map_err(|_| Gone)
    }

    /// Says that nothing follows.
    pub(crate) async fn close(mut self) {
        let frame = CloseFrame {
            code: close_code::NORMAL,
            reason: Utf8Bytes::default(),
        };
        let _ = self.0.send(Message::Close(Some(frame))).await;
        let _ = self.0.close().await;
    }

    /// The next of `facts`, with a sign of life to the client while there is none.
    ///
    /// # Errors
    /// `Gone` when that sign could not be sent.
    pub(crate) async fn next_of<T>(
        &mut self,
        mut facts: impl futures::Stream<Item = T> + Unpin,
    ) -> Result<Option<T>, Gone> {
        loop {
            // A stream that is asked again after a timeout has lost nothing.
            match tokio::time::timeout(PING, facts.next()).await {
                Ok(fact) => return Ok(fact),
                Err(_) => self.ping().await?,
            }
        }
    }
}

/// What a client says.
pub(crate) enum Word<T> {
    /// JSON that was read.
    Frame(T),
    /// Bytes.
    Bytes(Bytes),
}

/// The direction from the client.
pub(crate) struct Incoming(SplitStream<WebSocket>);

impl Incoming {
    /// What the client says next; `None` when it is gone, or says nothing for too long although it is asked.
    ///
    /// # Errors
    /// 400 for text that is no frame, 413 for what is too long.
    pub(crate) async fn next<T: DeserializeOwned>(
        &mut self,
        patience: Option<Duration>,
    ) -> Option<Result<Word<T>, Failure>> {
        let deadline = patience.unwrap_or(SILENCE);
        loop {
            // Nothing is lost with a message that has not come.
            let message = tokio::time::timeout(deadline, self.0.next()).await.ok()??;
            return Some(match message.ok()? {
                Message::Text(text) => crate::json::parse(text.as_bytes()).map(Word::Frame),
                Message::Binary(bytes) if bytes.len() > MAX_MESSAGE => Err(Failure::new(
                    SurfaceCode::PayloadTooLarge,
                    format!("a binary message is longer than {MAX_MESSAGE} bytes"),
                )),
                Message::Binary(bytes) => Ok(Word::Bytes(bytes)),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) => continue,
            });
        }
    }
}
