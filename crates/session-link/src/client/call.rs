//! One request and what comes back, as far as all requests are alike.

use std::time::Duration;

use bytes::BytesMut;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    error::{ErrorKind, LinkError, Result},
    mux::{Ending, MuxReader, MuxWriter, Opener, Term},
    wire::{
        frame::{self, Decoder, Frame, Kind},
        message::{self, Failure, Request},
    },
};

/// Bulk bytes per frame that this end sends, so that header and payload travel as one piece.
const BULK_PIECE: usize = (128 << 10) - frame::HEADER;

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) replies: Replies,
    pub(super) writer: MuxWriter,
    scratch: BytesMut,
    limit: Duration,
}

/// What comes back, as frames.
#[derive(Debug)]
pub(super) struct Replies {
    reader: MuxReader,
    decoder: Decoder,
    operation: &'static str,
    ending: Ending,
}

pub(super) fn late(operation: &'static str) -> LinkError {
    LinkError::new(
        ErrorKind::Timeout,
        operation,
        "the container's init did not answer",
    )
}

impl Call {
    pub(super) async fn start(
        opener: &Opener,
        request: &Request,
        term: Term,
        limit: Duration,
    ) -> Result<Self> {
        let operation = request.operation();
        let bytes = message::encode_request(request)?;
        let (reader, mut writer) = opener.open(operation, term).await?.split();
        writer
            .write_all(&bytes)
            .await
            .map_err(|error| LinkError::carrier(operation, error))?;
        let replies = Replies {
            reader,
            decoder: Decoder::default(),
            operation,
            ending: opener.ending().clone(),
        };
        Ok(Self {
            replies,
            writer,
            scratch: BytesMut::new(),
            limit,
        })
    }

    /// The answer, within the time a first answer may take.
    pub(super) async fn first_reply<T: DeserializeOwned>(&mut self) -> Result<T> {
        timeout(self.limit, self.replies.reply())
            .await
            .map_err(|_elapsed| late(self.replies.operation))?
    }

    /// The answer, whenever it comes.
    pub(super) async fn reply<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.replies.reply().await
    }

    /// Sends `bytes` as frames of `kind`, unless the other end fails first: then says why. Not cancel-safe.
    pub(super) async fn send_bulk(&mut self, kind: Kind, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(BULK_PIECE) {
            self.send(kind, piece).await?;
        }
        Ok(())
    }

    /// Sends one frame; see [`Call::send_bulk`].
    pub(super) async fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        self.scratch.clear();
        frame::put(&mut self.scratch, kind, 0, payload);
        tokio::select! {
            // Losing leaves a part of a frame written, but then the stream has failed and nothing more is written.
            written = self.writer.write_all(&self.scratch) => match written {
                Ok(()) => Ok(()),
                Err(error) => Err(self.replies.why(error).await),
            },
            // Cancel-safe: what was read stays in the decoder.
            early = self.replies.frame() => Err(match early {
                Err(error) => error,
                Ok(_) => self.replies.broken("an answer came before its time"),
            }),
        }
    }
}

impl Replies {
    /// The next frame, `None` at a proper end of the stream; a failure of the other end is an error. Cancel-safe.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame>> {
        let ending = self.ending.clone();
        tokio::select! {
            // First what has arrived. Losing loses nothing: bytes and frames stay in the decoder.
            biased;
            frame = std::future::poll_fn(|cx| self.poll_frame(cx)) => frame,
            // A link that is closed from this end does not wake its streams.
            () = ending.done() => Err(self.cut()),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Option<Frame>>> {
        use std::task::{Poll, ready};
        loop {
            match self.decoder.take() {
                Ok(Some(frame)) if frame.kind == Kind::Error => {
                    return Poll::Ready(Err(self.failure(&frame)));
                }
                Ok(Some(frame)) => return Poll::Ready(Ok(Some(frame))),
                Ok(None) => {}
                Err(error) => {
                    self.ending.ask();
                    return Poll::Ready(Err(error));
                }
            }
            match ready!(self.reader.poll_chunk(cx)) {
                Ok(Some(chunk)) => self.decoder.push(chunk),
                Ok(None) if self.decoder.at_boundary() && !self.ending.is_done() => {
                    return Poll::Ready(Ok(None));
                }
                Ok(None) => return Poll::Ready(Err(self.cut())),
                Err(error) => return Poll::Ready(Err(LinkError::carrier(self.operation, error))),
            }
        }
    }

    /// The next frame, which must be the answer.
    pub(super) async fn reply<T: DeserializeOwned>(&mut self) -> Result<T> {
        match self.frame().await? {
            Some(frame) if frame.kind == Kind::Reply => self.parse(&frame.payload),
            Some(_) => Err(self.broken("another frame than an answer")),
            None => Err(self.cut()),
        }
    }

    /// Reads JSON of the other end.
    pub(super) fn parse<T: DeserializeOwned>(&self, json: &[u8]) -> Result<T> {
        serde_json::from_slice(json)
            .map_err(|error| self.broken("an answer cannot be read").with_source(error))
    }

    /// The stream ended where it must not.
    pub(super) fn cut(&self) -> LinkError {
        if self.ending.is_done() {
            return LinkError::closed(self.operation);
        }
        LinkError::new(
            ErrorKind::Truncated,
            self.operation,
            "the answer ended before it was complete",
        )
    }

    /// The other end does not keep to the protocol: nothing more is believed of this link.
    pub(super) fn broken(&self, message: &'static str) -> LinkError {
        self.ending.ask();
        LinkError::protocol(self.operation, message)
    }

    /// Why a write failed: what the other end said last, or else `error`.
    async fn why(&mut self, error: std::io::Error) -> LinkError {
        match self.frame().await {
            Err(said) => said,
            Ok(_) => LinkError::carrier(self.operation, error),
        }
    }

    fn failure(&self, frame: &Frame) -> LinkError {
        match self.parse::<Failure>(&frame.payload) {
            Ok(failure) => failure.into_error(self.operation),
            Err(error) => error,
        }
    }
}
