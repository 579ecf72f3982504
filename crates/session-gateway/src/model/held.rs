//! A request's body that can be sent again, and one that must be whole before it can be sent at all.
//!
//! What is sent on is kept beside, so that a provider that was busy, or that broke off before it answered, can be asked
//! once more and another one in its place. What is kept is bounded for each request and for all of them together: a body
//! that does not fit is sent on all the same, once. A signed request is the exception, since the signature covers the
//! body: it is kept whole or refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::body::{BodyFault, RequestBody};

/// In what steps memory is taken.
const UNIT: usize = 64 * 1024;

/// The memory that all kept bodies share.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<Semaphore>);

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(
            (bytes / UNIT).min(Semaphore::MAX_PERMITS),
        )))
    }
}

/// Why a body is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// It is longer than one may be.
    TooLong,
    /// Others hold the memory.
    NoMemory,
}

/// What of a body has passed.
#[derive(Debug)]
struct Keep {
    pieces: Vec<Bytes>,
    newest: BytesMut,
    length: usize,
    limit: usize,
    memory: Memory,
    taken: Option<OwnedSemaphorePermit>,
    unkept: Option<Unkept>,
}

impl Keep {
    fn push(&mut self, piece: &[u8]) {
        if self.unkept.is_some() {
            return;
        }
        let length = self.length + piece.len();
        if length > self.limit {
            self.give_up(Unkept::TooLong);
        } else if !self.reserve(length) {
            self.give_up(Unkept::NoMemory);
        } else {
            self.length = length;
            self.newest.extend_from_slice(piece);
        }
    }

    fn reserve(&mut self, length: usize) -> bool {
        let have = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = length.div_ceil(UNIT).saturating_sub(have);
        if more == 0 {
            return true;
        }
        let Ok(more) = u32::try_from(more) else {
            return false;
        };
        match (
            Arc::clone(&self.memory.0).try_acquire_many_owned(more),
            &mut self.taken,
        ) {
            (Ok(more), Some(taken)) => taken.merge(more),
            (Ok(more), taken @ None) => *taken = Some(more),
            (Err(_), _) => return false,
        }
        true
    }

    fn give_up(&mut self, why: Unkept) {
        self.unkept = Some(why);
        self.pieces.clear();
        self.newest = BytesMut::new();
        self.taken = None;
    }

    /// All that was kept, in order.
    fn pieces(&mut self) -> Vec<Bytes> {
        if !self.newest.is_empty() {
            self.pieces.push(self.newest.split().freeze());
        }
        self.pieces.clone()
    }
}

/// A body between two attempts to send it.
pub(crate) struct Held {
    body: RequestBody,
    keep: Keep,
    read_to_end: bool,
}

impl Held {
    /// A body of which at most `limit` bytes are kept.
    pub(crate) fn new(body: RequestBody, limit: usize, memory: &Memory) -> Self {
        let keep = Keep {
            pieces: Vec::new(),
            newest: BytesMut::new(),
            length: 0,
            limit,
            memory: memory.clone(),
            taken: None,
            unkept: None,
        };
        Self {
            body,
            keep,
            read_to_end: false,
        }
    }

    /// Why the body could not be sent again, if that is so.
    pub(crate) fn unkept(&self) -> Option<Unkept> {
        self.keep.unkept
    }

    /// Reads the body to its end.
    pub(crate) async fn read(&mut self) -> Result<Whole, BodyFault> {
        while !self.read_to_end {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.keep.push(&data);
                    }
                    if let Some(why) = self.keep.unkept {
                        return Ok(Whole::Unkept(why));
                    }
                }
                Some(Err(fault)) => return Err(fault),
                None => self.read_to_end = true,
            }
        }
        Ok(match (self.keep.unkept, self.keep.pieces().as_slice()) {
            (Some(why), _) => Whole::Unkept(why),
            (None, []) => Whole::Kept(Bytes::new()),
            (None, [one]) => Whole::Kept(one.clone()),
            (None, many) => {
                // Only when it was sent in part before: put together, and kept so.
                let one = Bytes::from(many.concat());
                self.keep.pieces = vec![one.clone()];
                Whole::Kept(one)
            }
        })
    }

    /// Lends the body to the HTTP client, from its beginning.
    pub(crate) fn lend(mut self) -> (LentBody, Loan) {
        let (giver, back) = oneshot::channel();
        let mut ahead = self.keep.pieces();
        ahead.reverse();
        let lent = LentBody {
            ahead,
            held: Some(self),
            giver: Some(giver),
        };
        (lent, Loan(back))
    }
}

/// A body that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Kept(Bytes),
    Unkept(Unkept),
}

/// The right to have a lent body back.
pub(crate) struct Loan(oneshot::Receiver<Held>);

impl Loan {
    /// The body, if the client has let go of it already. A provider that answers while the body still goes out has not
    /// read it, and that client is not waited for: the answer is passed on.
    pub(crate) fn back(mut self) -> Option<Held> {
        self.0.try_recv().ok()
    }
}

/// A body in the hands of the HTTP client: what was kept, then what still comes.
pub(crate) struct LentBody {
    /// What was kept, the next piece last.
    ahead: Vec<Bytes>,
    /// Taken when dropped, never before.
    held: Option<Held>,
    giver: Option<oneshot::Sender<Held>>,
}

impl Body for LentBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Some(piece) = self.ahead.pop() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(held) = self.held.as_mut().filter(|held| !held.read_to_end) else {
            return Poll::Ready(None);
        };
        let next = ready!(Pin::new(&mut held.body).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    held.keep.push(data);
                }
            }
            Some(Err(_)) => {}
            None => held.read_to_end = true,
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty()
            && self
                .held
                .as_ref()
                .is_none_or(|held| held.read_to_end || held.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.iter().map(Bytes::len).sum::<usize>() as u64;
        let rest = match &self.held {
            Some(held) if !held.read_to_end => held.body.size_hint(),
            _ => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(ahead));
        }
        hint.set_lower(rest.lower().saturating_add(ahead));
        hint
    }
}

impl Drop for LentBody {
    fn drop(&mut self) {
        if let (Some(held), Some(giver)) = (self.held.take(), self.giver.take()) {
            // Nobody waits for it when the request succeeded.
            drop(giver.send(held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(limit: usize, memory: &Memory) -> Keep {
        Keep {
            pieces: Vec::new(),
            newest: BytesMut::new(),
            length: 0,
            limit,
            memory: memory.clone(),
            taken: None,
            unkept: None,
        }
    }

    #[test]
    fn what_is_kept_is_bounded_for_one_and_for_all() {
        let memory = Memory::new(2 * UNIT);
        let mut one = keep(UNIT + 1, &memory);
        one.push(&[1; UNIT]);
        one.push(&[2]);
        assert_eq!(one.pieces().concat().len(), UNIT + 1);
        assert_eq!(memory.0.available_permits(), 0);

        let mut other = keep(UNIT, &memory);
        other.push(&[3]);
        assert_eq!(other.unkept, Some(Unkept::NoMemory));
        assert!(other.pieces().is_empty());

        one.push(&[4]);
        assert_eq!(one.unkept, Some(Unkept::TooLong));
        assert!(one.pieces().is_empty());
        assert_eq!(memory.0.available_permits(), 2, "given back at once");
    }

    #[test]
    fn pieces_stay_in_order_between_attempts() {
        let mut keep = keep(UNIT, &Memory::new(UNIT));
        keep.push(b"one ");
        assert_eq!(keep.pieces().concat(), b"one ");
        keep.push(b"two ");
        keep.push(b"three");
        assert_eq!(keep.pieces().concat(), b"one two three");
    }
}
