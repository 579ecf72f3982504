//! Frames: what follows a request on its stream, in both directions.
//!
//! ```text
//! 0      1          9        13
//! | kind | offset   | length | payload of that length
//! ```
//!
//! Payloads of the bulk kinds ([`Kind::is_bulk`]) are handed out as they come, in pieces with offsets of their own, so that nothing is copied
//! or waited for. All others are short and handed out whole.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{LinkError, Result};

/// Bytes before a payload.
pub const HEADER: usize = 13;

/// The longest payload of a bulk frame.
pub const MAX_BULK: usize = 1 << 20;

/// The longest payload of any other frame.
pub const MAX_CONTROL: usize = 1 << 20;

/// What a frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// From init: the JSON answer to the request.
    Reply = 1,
    /// From init: the JSON of a [`Failure`](super::message::Failure); nothing follows.
    Error = 2,
    /// From init: bytes of standard output; the offset is theirs.
    Stdout = 3,
    /// From init: bytes of standard error; the offset is theirs.
    Stderr = 4,
    /// From init: bytes from the offset on are gone; the payload is the first offset that is there, 8 bytes.
    Gap = 5,
    /// From init: the JSON of an [`ExitReport`](crate::ExitReport); nothing follows.
    Exit = 6,
    /// Both ways: bytes of an archive.
    Data = 7,
    /// Both ways: the archive is complete; from init with the JSON of a [`CopyReport`](crate::CopyReport).
    End = 8,
    /// To init: bytes for standard input.
    Stdin = 9,
    /// To init: no more input.
    StdinEnd = 10,
    /// To init: output before the offset was handled.
    Acknowledge = 11,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Reply,
            2 => Self::Error,
            3 => Self::Stdout,
            4 => Self::Stderr,
            5 => Self::Gap,
            6 => Self::Exit,
            7 => Self::Data,
            8 => Self::End,
            9 => Self::Stdin,
            10 => Self::StdinEnd,
            11 => Self::Acknowledge,
            _ => return None,
        })
    }

    /// Whether payloads are handed out in pieces.
    pub fn is_bulk(self) -> bool {
        matches!(self, Self::Stdout | Self::Stderr | Self::Data | Self::Stdin)
    }

    fn limit(self) -> usize {
        if self.is_bulk() { MAX_BULK } else { MAX_CONTROL }
    }
}

/// The start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it means.
    pub kind: Kind,
    /// What its kind says an offset is; 0 otherwise.
    pub offset: u64,
    /// How many bytes of payload follow.
    pub length: u32,
}

impl Header {
    /// The bytes of this header.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[1..9].copy_from_slice(&self.offset.to_be_bytes());
        bytes[9..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads a header; kind and length are checked.
    ///
    /// # Errors
    /// `Protocol` for a kind that does not exist or a payload that is too long.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self> {
        let [kind, o7, o6, o5, o4, o3, o2, o1, o0, l3, l2, l1, l0] = *bytes;
        let kind = Kind::from_byte(kind)
            .ok_or_else(|| LinkError::protocol("read frame", "unknown kind of frame"))?;
        let length = u32::from_be_bytes([l3, l2, l1, l0]);
        if length as usize > kind.limit() {
            return Err(LinkError::protocol("read frame", "a frame is too long"));
        }
        Ok(Self {
            kind,
            offset: u64::from_be_bytes([o7, o6, o5, o4, o3, o2, o1, o0]),
            length,
        })
    }
}

/// A frame, or a piece of a bulk frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it means.
    pub kind: Kind,
    /// For a piece: the offset of its own first byte.
    pub offset: u64,
    /// Its bytes.
    pub payload: Bytes,
}

impl Frame {
    /// A frame of `payload` at `offset`.
    pub fn new(kind: Kind, offset: u64, payload: impl Into<Bytes>) -> Self {
        Self {
            kind,
            offset,
            payload: payload.into(),
        }
    }

    /// Appends header and payload to `buffer`.
    pub fn put(&self, buffer: &mut BytesMut) {
        put(buffer, self.kind, self.offset, &self.payload);
    }
}

/// Appends a frame to `buffer`. A payload is never longer than its kind allows: callers cut theirs.
pub fn put(buffer: &mut BytesMut, kind: Kind, offset: u64, payload: &[u8]) {
    debug_assert!(
        payload.len() <= kind.limit(),
        "payloads are cut by whoever makes them"
    );
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    buffer.reserve(HEADER + payload.len());
    buffer.put_slice(&Header { kind, offset, length }.encode());
    buffer.put_slice(payload);
}

/// Cuts a stream of chunks into frames, however the chunks were cut, without copying bulk payloads.
#[derive(Debug, Default)]
pub struct Decoder {
    chunk: Bytes,
    state: State,
}

#[derive(Debug)]
enum State {
    Header {
        have: usize,
        bytes: [u8; HEADER],
    },
    Bulk {
        kind: Kind,
        offset: u64,
        left: usize,
    },
    Control {
        kind: Kind,
        offset: u64,
        left: usize,
        payload: BytesMut,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Header {
            have: 0,
            bytes: [0; HEADER],
        }
    }
}

impl Decoder {
    /// Takes the next chunk. The one before must have been used up: [`Decoder::take`] returned `None`.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the chunk before was used up");
        self.chunk = chunk;
    }

    /// The next frame or piece, `None` when another chunk is needed.
    ///
    /// # Errors
    /// `Protocol`: the stream cannot be read any further.
    pub fn take(&mut self) -> Result<Option<Frame>> {
        loop {
            match &mut self.state {
                State::Header { have, bytes } => {
                    let take = (HEADER - *have).min(self.chunk.len());
                    bytes[*have..*have + take].copy_from_slice(&self.chunk.split_to(take));
                    *have += take;
                    if *have < HEADER {
                        return Ok(None);
                    }
                    self.state = State::after(Header::decode(bytes)?);
                }
                State::Bulk { left: 0, .. } => self.state = State::default(),
                State::Bulk { kind, offset, left } => {
                    if self.chunk.is_empty() {
                        return Ok(None);
                    }
                    let payload = self.chunk.split_to((*left).min(self.chunk.len()));
                    let frame = Frame {
                        kind: *kind,
                        offset: *offset,
                        payload,
                    };
                    *left -= frame.payload.len();
                    *offset = offset.saturating_add(frame.payload.len() as u64);
                    return Ok(Some(frame));
                }
                State::Control {
                    kind,
                    offset,
                    left,
                    payload,
                } => {
                    let take = (*left).min(self.chunk.len());
                    payload.extend_from_slice(&self.chunk.split_to(take));
                    *left -= take;
                    if *left > 0 {
                        return Ok(None);
                    }
                    let frame = Frame {
                        kind: *kind,
                        offset: *offset,
                        payload: payload.split().freeze(),
                    };
                    self.state = State::default();
                    return Ok(Some(frame));
                }
            }
        }
    }

    /// Whether the stream may end here: between two frames.
    pub fn at_boundary(&self) -> bool {
        let between = match &self.state {
            State::Header { have, .. } => *have == 0,
            State::Bulk { left, .. } => *left == 0,
            State::Control { .. } => false,
        };
        between && self.chunk.is_empty()
    }
}

impl State {
    fn after(header: Header) -> Self {
        let Header { kind, offset, length } = header;
        let left = length as usize;
        if kind.is_bulk() {
            Self::Bulk { kind, offset, left }
        } else {
            Self::Control {
                kind,
                offset,
                left,
                payload: BytesMut::new(),
            }
        }
    }
}
