//! Answers: one frame of JSON, or one that says what went wrong.

use bytes::BytesMut;
use serde::Serialize;
use session_link::{
    ErrorKind, LinkError, Result,
    mux::MuxWriter,
    wire::{
        frame::{self, Kind},
        message::{Failure, MAX_REPLY},
    },
};

/// Sends the answer.
///
/// # Errors
/// `Closed` if nobody takes it, `LimitReached` if it is too long.
pub(crate) async fn value<T: Serialize>(writer: &mut MuxWriter, value: &T) -> Result<()> {
    json(writer, Kind::Reply, value).await
}

/// Sends the frame that says a transfer is complete.
///
/// # Errors
/// See [`value`].
pub(super) async fn end<T: Serialize>(writer: &mut MuxWriter, value: &T) -> Result<()> {
    json(writer, Kind::End, value).await
}

/// Says what went wrong; if nobody takes that either, there is nothing left to do.
pub(super) async fn failure(writer: &mut MuxWriter, error: &LinkError) {
    let _ = json(writer, Kind::Error, &Failure::of(error)).await;
}

async fn json<T: Serialize>(writer: &mut MuxWriter, kind: Kind, value: &T) -> Result<()> {
    let json = serde_json::to_vec(value).map_err(|error| {
        LinkError::new(ErrorKind::Io, "reply", "the answer cannot be encoded").with_source(error)
    })?;
    if json.len() > MAX_REPLY {
        return Err(LinkError::new(
            ErrorKind::LimitReached,
            "reply",
            "the answer is too long",
        ));
    }
    let mut bytes = BytesMut::new();
    frame::put(&mut bytes, kind, 0, &json);
    writer
        .write_all(&bytes)
        .await
        .map_err(|error| LinkError::carrier("reply", error))
}
