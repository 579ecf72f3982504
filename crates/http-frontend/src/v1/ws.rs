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
use tokio_tungstenite::tungstenite;

use crate::body::Load;
use crate::caller::Caller;
use crate::problem::Failure;
use crate::state::AppState;

/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// After how long without a word it is not.
const SILENCE: Duration = Duration::from_secs(90);
/// The longest message to a command, the first one included: longer input is sent in pieces.
const MAX_MESSAGE: usize = 1 << 20;
/// The longest message to a terminal: nobody types more at once.
const MAX_TYPED: usize = 256 << 10;

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
        self.0.map(|upgrade| Wanted {
            upgrade,
            longest: MAX_MESSAGE,
            load: None,
        })
    }
}

/// A request for a WebSocket.
pub(crate) struct Wanted {
    upgrade: WebSocketUpgrade,
    longest: usize,
    load: Option<Load>,
}

impl Wanted {
    /// For what is typed.
    pub(crate) fn for_typing(mut self) -> Self {
        self.longest = MAX_TYPED;
        self
    }

    /// With room for a first message, which is held until it has come: what has come of it cannot be seen from here.
    ///
    /// # Errors
    /// 429 or 503 when there is none.
    pub(crate) fn with_first_word(mut self, state: &AppState, caller: &Caller) -> Result<Self, Failure> {
        let mut load = state.scales().load(caller);
        load.add(self.longest)?;
        self.load = Some(load);
        Ok(self)
    }

    /// Answers the request, and serves the socket to its end or to the server's.
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
        let Self {
            upgrade,
            longest,
            load,
        } = self;
        let patience = state.options().body_timeout;
        upgrade
            .max_message_size(longest)
            .max_frame_size(longest)
            .on_upgrade(async move |socket| {
                let _counted = counted;
                let (sink, stream) = socket.split();
                let socket = Socket {
                    outgoing: Outgoing(sink),
                    incoming: Incoming {
                        stream,
                        longest,
                        patience,
                        load,
                    },
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
pub(crate) struct Incoming {
    stream: SplitStream<WebSocket>,
    longest: usize,
    /// How long the first message may take to arrive.
    patience: Duration,
    /// Room for the first message, until it has come.
    load: Option<Load>,
}

impl Incoming {
    /// What the client says next; `None` when it is gone, or says nothing for too long although it is asked.
    ///
    /// # Errors
    /// 400 for text that is no frame, 413 for what is too long.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Option<Result<Word<T>, Failure>> {
        loop {
            // Nothing is lost with a message that has not come. A sign of life is one here, whatever it is.
            let message = tokio::time::timeout(SILENCE, self.stream.next()).await.ok()??;
            let message = match message {
                Ok(message) => message,
                Err(error) => return self.broken(error).map(Err),
            };
            return Some(match message {
                Message::Text(text) => crate::json::parse(text.as_bytes()).map(Word::Frame),
                Message::Binary(bytes) => Ok(Word::Bytes(bytes)),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) => continue,
            });
        }
    }

    /// What the client says first; `None` when it is gone or has not said it in time. Nothing else that it says gives it
    /// more: an unfinished message holds memory.
    ///
    /// # Errors
    /// As of [`Incoming::next`].
    pub(crate) async fn first<T: DeserializeOwned>(&mut self) -> Option<Result<Word<T>, Failure>> {
        // The connection ends with what was read of it.
        let word = tokio::time::timeout(self.patience, self.next()).await.ok()?;
        self.load = None;
        word
    }

    /// A message that is too long is told; what else broke off has nobody to tell it to.
    fn broken(&self, error: axum::Error) -> Option<Failure> {
        let inner = error.into_inner();
        let long = matches!(inner.downcast_ref(), Some(tungstenite::Error::Capacity(_)));
        long.then(|| {
            Failure::new(
                SurfaceCode::PayloadTooLarge,
                format!("a message is longer than {} bytes", self.longest),
            )
        })
    }
}
