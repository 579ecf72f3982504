//! The first bytes of a stream: a request, and the start of what follows it.

use bytes::{Buf, Bytes, BytesMut};
use session_link::{
    LinkError, ProcessId, Result,
    mux::MuxReader,
    wire::{
        frame::{Decoder, Kind},
        message::{MAX_KEYED_WRITE, MAX_REQUEST, Request},
    },
};

const LENGTH: usize = 4;

/// Reads a request; the decoder has what came behind it.
///
/// # Errors
/// `Closed` if the stream ends before, `Protocol` if it cannot be read.
pub(super) async fn read(reader: &mut MuxReader) -> Result<(Request, Decoder)> {
    let mut gathered = BytesMut::new();
    loop {
        if let Some(length) = gathered.first_chunk::<LENGTH>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX_REQUEST {
                return Err(LinkError::protocol("request", "the request is too long"));
            }
            if gathered.len() >= LENGTH + length {
                gathered.advance(LENGTH);
                let json = gathered.split_to(length);
                let request = serde_json::from_slice(&json).map_err(|error| {
                    LinkError::protocol("request", "the request cannot be read").with_source(error)
                })?;
                let mut decoder = Decoder::default();
                decoder.push(gathered.freeze());
                return Ok((request, decoder));
            }
        }
        match reader.chunk().await {
            Ok(Some(chunk)) => gathered.extend_from_slice(&chunk),
            Ok(None) | Err(_) => return Err(LinkError::closed("request")),
        }
    }
}

/// Reads the whole of a write with a key: what came only in part is as if it had not been sent.
///
/// # Errors
/// `Closed` if the stream ends before, `Protocol` for more than was announced or may be.
pub(super) async fn read_input(
    id: &ProcessId,
    length: u64,
    mut decoder: Decoder,
    reader: &mut MuxReader,
) -> Result<Bytes> {
    let refuse = |message| LinkError::protocol("write_stdin", message).with_context("process", id.as_str());
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_KEYED_WRITE);
    let length = length.ok_or_else(|| refuse("the write is too long"))?;
    let mut bytes = BytesMut::new();
    while bytes.len() < length {
        match decoder.take()? {
            Some(frame) if frame.kind == Kind::Stdin => bytes.extend_from_slice(&frame.payload),
            Some(_) => return Err(refuse("a frame that has no place in a write")),
            None => match reader.chunk().await {
                Ok(Some(chunk)) => decoder.push(chunk),
                Ok(None) | Err(_) => return Err(LinkError::closed("write_stdin")),
            },
        }
    }
    if bytes.len() > length {
        return Err(refuse("the write is longer than announced"));
    }
    Ok(bytes.freeze())
}
