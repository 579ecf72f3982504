//! Bodies as they pass: one frame at a time, nothing gathered.
//!
//! A request's body is counted against its limit; an answer's is searched for the key and listened to for its account,
//! and its end waits until that account is charged. Both are given up when they stop moving. Trailers do not pass: neither side of this protocol uses them.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use session_core::gateway::ModelFailure;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::accounts::Charged;
use super::exchange::Exchange;
use super::redact::Redactor;
use super::usage::{RequestTap, UsageTap};

/// Why a body did not pass to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    TooLarge,
    Stalled,
    Broken,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is longer than allowed",
            Self::Stalled => "the body stopped arriving",
            Self::Broken => "the body broke off",
        })
    }
}

impl StdError for BodyFault {}

/// Notices that a body has stopped moving while somebody waits for it.
struct Stall {
    after: Duration,
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl Stall {
    fn new(after: Duration) -> Self {
        Self {
            after,
            sleep: Box::pin(tokio::time::sleep(after)),
            armed: false,
        }
    }

    /// Polls the body; time counts only while it is waited for, so a slow reader is not taken for a slow body.
    fn poll<T>(&mut self, cx: &mut Context<'_>, polled: Poll<T>) -> Poll<Result<T, BodyFault>> {
        if let Poll::Ready(value) = polled {
            self.armed = false;
            return Poll::Ready(Ok(value));
        }
        if !self.armed {
            self.sleep.as_mut().reset(Instant::now() + self.after);
            self.armed = true;
        }
        self.sleep.as_mut().poll(cx).map(|()| Err(BodyFault::Stalled))
    }
}

/// What is left of a request's body once the client library has let go of it.
pub(crate) struct Leftover {
    /// The library reports any fault of a body as one of the connection; here is what it was.
    fault: Arc<OnceLock<BodyFault>>,
    unread: oneshot::Receiver<Incoming>,
}

impl Leftover {
    /// Why the body did not pass, if that is so.
    pub(crate) fn fault(&self) -> Option<BodyFault> {
        self.fault.get().copied()
    }

    /// The part that nobody read, if there is one and nobody reads it any more.
    pub(crate) fn unread(mut self) -> Option<Incoming> {
        self.unread.try_recv().ok()
    }
}

/// A request's body on its way to the upstream.
pub(crate) struct RequestBody {
    /// Taken when dropped, never before.
    inner: Option<Incoming>,
    remaining: u64,
    stall: Stall,
    tap: Option<RequestTap>,
    fault: Arc<OnceLock<BodyFault>>,
    unread: Option<oneshot::Sender<Incoming>>,
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming, limit: u64, stall: Duration) -> (Self, Leftover) {
        let fault = Arc::new(OnceLock::new());
        let (sender, unread) = oneshot::channel();
        let body = Self {
            inner: Some(inner),
            remaining: limit,
            stall: Stall::new(stall),
            tap: None,
            fault: Arc::clone(&fault),
            unread: Some(sender),
        };
        (body, Leftover { fault, unread })
    }

    /// Lets `tap` hear what passes.
    pub(crate) fn heard_by(mut self, tap: RequestTap) -> Self {
        self.tap = Some(tap);
        self
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        loop {
            let polled = Pin::new(&mut *inner).poll_frame(cx);
            let frame = match ready!(self.stall.poll(cx, polled)) {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => return Poll::Ready(Some(Err(BodyFault::Broken))),
                Ok(None) => return Poll::Ready(None),
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            };
            let Ok(data) = frame.into_data() else { continue };
            return Poll::Ready(Some(match self.remaining.checked_sub(data.len() as u64) {
                Some(remaining) => {
                    self.remaining = remaining;
                    if let Some(tap) = &mut self.tap {
                        tap.feed(&data);
                    }
                    Ok(data)
                }
                None => Err(BodyFault::TooLarge),
            }));
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let next = ready!(self.next(cx));
        if let Some(Err(fault)) = next {
            // Only the first fault counts; a second cannot be set, and need not.
            self.fault.get_or_init(|| fault);
        }
        Poll::Ready(next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    /// Hands the unread part back: a client that is still writing it must be heard out before it reads why it failed.
    fn drop(&mut self) {
        let unread = self.inner.take().filter(|inner| !inner.is_end_stream());
        if let (Some(inner), Some(sender)) = (unread, self.unread.take()) {
            // Nobody waits for it when the request succeeded.
            drop(sender.send(inner));
        }
    }
}

/// An answer's body on its way to the session.
pub(crate) struct AnswerBody {
    inner: Incoming,
    redactor: Redactor,
    tap: UsageTap,
    stall: Stall,
    exchange: Exchange,
    state: State,
}

/// How far an answer is.
enum State {
    Open,
    /// All of it came. The last piece passes when the charge is made.
    Closing {
        last: Bytes,
        charged: Option<Charged>,
    },
    Ended,
}

impl AnswerBody {
    pub(crate) fn new(
        inner: Incoming,
        redactor: Redactor,
        tap: UsageTap,
        stall: Duration,
        exchange: Exchange,
    ) -> Self {
        Self {
            inner,
            redactor,
            tap,
            stall: Stall::new(stall),
            exchange,
            state: State::Open,
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            match &mut self.state {
                State::Open => {}
                State::Closing { last, charged } => {
                    if let Some(charged) = charged {
                        ready!(Pin::new(charged).poll(cx));
                    }
                    let last = std::mem::take(last);
                    self.state = State::Ended;
                    return Poll::Ready((!last.is_empty()).then_some(Ok(last)));
                }
                State::Ended => return Poll::Ready(None),
            }
            let polled = Pin::new(&mut self.inner).poll_frame(cx);
            let frame = match ready!(self.stall.poll(cx, polled)) {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => return self.fail(BodyFault::Broken),
                Err(fault) => return self.fail(fault),
                Ok(None) => {
                    self.close(Bytes::new());
                    continue;
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            self.tap.feed(&data);
            self.exchange.heard(self.tap.heard());
            let data = self.redactor.push(data);
            if self.inner.is_end_stream() {
                self.close(data);
            } else if !data.is_empty() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }

    /// All of the answer came.
    fn close(&mut self, last: Bytes) {
        self.settle();
        let rest = self.redactor.finish();
        let last = match (last.is_empty(), rest.is_empty()) {
            (_, true) => last,
            (true, false) => rest,
            (false, false) => [last, rest].concat().into(),
        };
        let charged = self.exchange.close();
        self.state = State::Closing { last, charged };
    }

    /// What is held back is dropped: the session sees a body that broke off, as it did.
    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Bytes, BodyFault>>> {
        self.settle();
        self.exchange.broke_off(match fault {
            BodyFault::Stalled => ModelFailure::Silent,
            BodyFault::TooLarge | BodyFault::Broken => ModelFailure::Unreachable,
        });
        // Charged without being waited for: an end that is no good need not be held back.
        drop(self.exchange.close());
        self.state = State::Ended;
        Poll::Ready(Some(Err(fault)))
    }

    fn settle(&mut self) {
        self.tap.finish();
        self.exchange.heard(self.tap.heard());
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.next(cx).map(|next| next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Open => self.redactor.held() == 0 && self.inner.is_end_stream(),
            State::Closing { .. } => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let last = match &self.state {
            State::Closing { last, .. } => last.len(),
            State::Open | State::Ended => 0,
        };
        let held = (self.redactor.held() + last) as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(inner.lower().saturating_add(held));
        hint
    }
}

impl Drop for AnswerBody {
    /// A reader that goes away early has still used what was sent so far.
    fn drop(&mut self) {
        if matches!(self.state, State::Open) {
            self.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_counts_only_while_somebody_waits() {
        let mut stall = Stall::new(Duration::from_secs(10));
        let mut wait = async |limit: u64| {
            let waiting = std::future::poll_fn(|cx| stall.poll(cx, Poll::<()>::Pending));
            tokio::time::timeout(Duration::from_secs(limit), waiting).await
        };
        assert!(wait(9).await.is_err(), "nine seconds are no stall");
        assert_eq!(wait(2).await, Ok(Err(BodyFault::Stalled)), "eleven are");

        let ready = std::future::poll_fn(|cx| stall.poll(cx, Poll::Ready(7))).await;
        assert_eq!(ready, Ok(7));
        tokio::time::advance(Duration::from_secs(60)).await;
        let waiting = std::future::poll_fn(|cx| stall.poll(cx, Poll::<()>::Pending));
        assert!(
            tokio::time::timeout(Duration::from_secs(9), waiting)
                .await
                .is_err(),
            "the clock starts anew"
        );
    }
}
