//! Streams of events, each of bounded size and each message in it read like any other.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use rmcp::transport::streamable_http_client::SseError;
use sse_stream::{Sse, SseStream};

use super::super::ending::Ending;
use super::headers::Headers;
use crate::mcp::call::FailureCause;
use crate::mcp::wire::{self, Heard, Patience};

/// What every stream of a connection needs.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) headers: Arc<Headers>,
    pub(super) patience: Arc<Mutex<Patience>>,
    pub(super) max_message: usize,
    pub(super) ending: Ending,
}

/// The events of a body.
pub(super) fn events<S, E>(pieces: S, reading: Reading) -> impl Stream<Item = Result<Sse, SseError>> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut meter = EventMeter::new(reading.max_message);
    let ending = reading.ending.clone();
    let bounded = pieces.map(move |piece| match piece {
        Ok(piece) if meter.admits(&piece) => Ok(piece),
        Ok(_) => {
            ending.fail(
                FailureCause::Broken,
                "it sent an event that is longer than messages may be",
            );
            Err(EventFault::TooLong)
        }
        Err(error) => Err(EventFault::Broken(Box::new(error))),
    });
    SseStream::from_bytes_stream(Box::pin(bounded)).map(move |event| {
        let mut event = event?;
        reading.judge(&mut event);
        Ok(event)
    })
}

impl Reading {
    /// Clears an event of what is no message, and its message of what it must not hold.
    fn judge(&self, event: &mut Sse) {
        let is_message = matches!(event.event.as_deref(), None | Some("" | "message"));
        let Some(data) = event.data.as_mut().filter(|_| is_message) else {
            return;
        };
        let mask = self.headers.mask();
        let strained = match wire::read(data.as_bytes(), &mask) {
            Heard::Message(message) => {
                // Only a masked message is another one than that which came.
                if mask.longest() > 0 {
                    *data = serde_json::to_string(&message).unwrap_or_default();
                }
                self.patience(Patience::restore);
                return;
            }
            Heard::Unreadable(id, why) => {
                *data = serde_json::to_string(&wire::in_place_of(id, why)).unwrap_or_default();
                self.patience(|patience| patience.strain(0))
            }
            Heard::Blank => {
                event.data = None;
                return;
            }
            Heard::Junk => {
                let bytes = data.len();
                event.data = None;
                self.patience(|patience| patience.strain(bytes))
            }
        };
        if strained.is_err() {
            self.ending.fail(
                FailureCause::Broken,
                "it sends what is no message, too much of it",
            );
        }
    }

    fn patience<T>(&self, act: impl FnOnce(&mut Patience) -> T) -> T {
        act(&mut self.patience.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long the event is that is being read: what a parser holds of it.
struct EventMeter {
    most: usize,
    /// In its complete lines.
    held: usize,
    line: usize,
    /// Whether a line has just ended with the first half of a line end.
    half: bool,
}

impl EventMeter {
    fn new(most: usize) -> Self {
        Self {
            most,
            held: 0,
            line: 0,
            half: false,
        }
    }

    fn admits(&mut self, mut piece: &[u8]) -> bool {
        while let Some(at) = memchr::memchr2(b'\n', b'\r', piece) {
            self.line += at;
            if self.held + self.line > self.most {
                return false;
            }
            if self.line == 0 && self.half && piece[at] == b'\n' {
                self.half = false;
            } else {
                // An empty line ends the event.
                self.held = if self.line == 0 {
                    0
                } else {
                    self.held + self.line + 1
                };
                self.half = piece[at] == b'\r';
            }
            self.line = 0;
            piece = &piece[at + 1..];
        }
        self.line += piece.len();
        self.held + self.line <= self.most
    }
}

#[derive(Debug)]
enum EventFault {
    TooLong,
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for EventFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "an event is longer than messages may be",
            Self::Broken(_) => "the stream of events broke",
        })
    }
}

impl std::error::Error for EventFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLong => None,
            Self::Broken(error) => Some(&**error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admits(most: usize, text: &str, piece: usize) -> bool {
        let mut meter = EventMeter::new(most);
        text.as_bytes().chunks(piece).all(|piece| meter.admits(piece))
    }

    proptest! {
        /// Events of any number pass while none is too long, with every kind of line end and in any pieces.
        #[test]
        fn events_are_measured_one_by_one(
            events in prop::collection::vec(prop::collection::vec("[a-z:]{1,12}", 1..4), 1..8),
            end in prop::sample::select(vec!["\n", "\r", "\r\n"]),
            piece in 1_usize..9,
        ) {
            let longest = events.iter().map(|lines| lines.iter().map(|line| line.len() + 1).sum::<usize>()).max().unwrap();
            let text: String = events.iter().map(|lines| format!("{}{end}{end}", lines.join(end))).collect();
            prop_assert!(admits(longest, &text, piece));
            prop_assert!(!admits(longest - 2, &text, piece));
        }
    }
}
