//! Takes an `application/vnd.amazon.eventstream` apart, in which Bedrock sends what the vendor sends as server-sent events.
//!
//! ```text
//!  total length  headers' length  checksum   headers …   payload …                     checksum
//!  4 bytes       4 bytes          4 bytes                {"bytes":"BASE64 OF AN EVENT"}  4 bytes
//! ```
//!
//! Checksums are for whoever uses the answer; here a wrong count is the worst that a wrong byte can do.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::MAX_PIECE;

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// One frame, as far as it is of use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// The vendor's event.
    Event(&'a [u8]),
    /// The name of an error of Bedrock's own.
    Exception(&'a str),
}

/// The state between two chunks.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    /// The current frame so far.
    frame: Vec<u8>,
    /// Bytes of a frame that is too long to be looked into.
    skip: usize,
    /// The stream is not what it says it is.
    broken: bool,
}

impl FrameReader {
    /// Reads on; `on_frame` gets each complete frame.
    pub(super) fn feed(&mut self, chunk: &[u8], mut on_frame: impl FnMut(Frame<'_>)) {
        let mut rest = chunk;
        while !rest.is_empty() && !self.broken {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = &rest[skipped..];
            if self.skip > 0 {
                return;
            }
            rest = self.extend(rest);
            self.complete(&mut on_frame);
        }
    }

    /// Takes what belongs to the current frame, as far as its length is known, and returns the rest.
    fn extend<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = self.length().unwrap_or(PRELUDE);
        let wanted = end.saturating_sub(self.frame.len()).min(bytes.len());
        self.frame.extend_from_slice(&bytes[..wanted]);
        &bytes[wanted..]
    }

    /// The length of the current frame, once its prelude is there.
    fn length(&self) -> Option<usize> {
        let prelude = self.frame.get(..PRELUDE)?;
        number(prelude, 0)
    }

    fn complete(&mut self, on_frame: &mut impl FnMut(Frame<'_>)) {
        let (Some(total), Some(headers)) = (self.length(), number(&self.frame, 4)) else {
            return;
        };
        let Some(body) = total
            .checked_sub(PRELUDE + CHECKSUM)
            .filter(|body| headers <= *body)
        else {
            self.broken = true;
            self.frame = Vec::new();
            return;
        };
        if total > MAX_PIECE {
            self.skip = total - self.frame.len();
            self.frame.clear();
        } else if self.frame.len() == total {
            let (headers, payload) = self.frame[PRELUDE..PRELUDE + body].split_at(headers);
            hear(headers, payload, on_frame);
            self.frame.clear();
        }
    }

    /// Bytes held, for the test of the bound.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.frame.len()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(four)).ok()
}

fn hear(headers: &[u8], payload: &[u8], on_frame: &mut impl FnMut(Frame<'_>)) {
    if let Some(name) = exception(headers) {
        on_frame(Frame::Exception(name));
        return;
    }
    let event = serde_json::from_slice::<Value>(payload)
        .ok()
        .and_then(|payload| BASE64_STANDARD.decode(payload.get("bytes")?.as_str()?).ok());
    if let Some(event) = event {
        on_frame(Frame::Event(&event));
    }
}

/// The value of `:exception-type`. A header is a name, a type and a value, the first and last with their lengths; those
/// of Bedrock are all strings, and anything else ends the search.
fn exception(mut headers: &[u8]) -> Option<&str> {
    const STRING: u8 = 7;
    while let Some((length, rest)) = headers.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (prefix, rest) = rest.split_at_checked(3)?;
        let length = usize::from(u16::from_be_bytes([prefix[1], prefix[2]]));
        if prefix[0] != STRING {
            return None;
        }
        let (value, rest) = rest.split_at_checked(length)?;
        if name == b":exception-type" {
            return std::str::from_utf8(value).ok();
        }
        headers = rest;
    }
    None
}
