//! Bodies of plain HTTP as they pass: counted, slowed down, searched for a credential, and given up when they stall.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::session::Session;
use crate::model::redact::{Needle, Redactor};

/// Why a body did not pass to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// The session may move nothing more.
    Spent,
    Stalled,
    Broken,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spent => "the session may move nothing more",
            Self::Stalled => "the body stopped arriving",
            Self::Broken => "the body broke off",
        })
    }
}

impl StdError for BodyFault {}

/// A body on its way. Trailers do not pass.
pub(crate) struct PassingBody {
    /// `None` is a body of no bytes.
    inner: Option<Incoming>,
    session: Arc<Session>,
    redactors: Vec<Redactor>,
    /// What may pass once `held_until` is over.
    ready: VecDeque<Bytes>,
    held_until: Option<Pin<Box<Sleep>>>,
    stall: Pin<Box<Sleep>>,
    stall_after: Duration,
    waiting: bool,
    ended: bool,
}

impl PassingBody {
    pub(crate) fn new(
        inner: Option<Incoming>,
        session: Arc<Session>,
        needles: &[Arc<Needle>],
        stall_after: Duration,
    ) -> Self {
        Self {
            inner,
            session,
            redactors: needles
                .iter()
                .map(|needle| Redactor::new(Arc::clone(needle)))
                .collect(),
            ready: VecDeque::new(),
            held_until: None,
            stall: Box::pin(sleep(stall_after)),
            stall_after,
            waiting: false,
            ended: false,
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        loop {
            if let Some(held) = self.held_until.as_mut() {
                ready!(held.as_mut().poll(cx));
                self.held_until = None;
            }
            if let Some(data) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(data)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.poll_inner(cx)) {
                Ok(Some(data)) => match self.session.meter.count(data.len()) {
                    Ok(until) => {
                        self.held_until = until.map(|until| Box::pin(sleep_until(until)));
                        let data = self.search(0, data);
                        self.ready.extend(data);
                    }
                    Err(_) => return self.fail(BodyFault::Spent),
                },
                Ok(None) => {
                    self.ended = true;
                    self.finish();
                }
                Err(fault) => return self.fail(fault),
            }
        }
    }

    /// The next data of the body; time counts only while it is waited for.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyFault>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(Ok(None));
        };
        loop {
            let Poll::Ready(frame) = Pin::new(&mut *inner).poll_frame(cx) else {
                if !std::mem::replace(&mut self.waiting, true) {
                    self.stall.as_mut().reset(Instant::now() + self.stall_after);
                }
                return self.stall.as_mut().poll(cx).map(|()| Err(BodyFault::Stalled));
            };
            self.waiting = false;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(BodyFault::Broken)),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Passes data through the redactors from the given one on.
    fn search(&mut self, from: usize, mut data: Bytes) -> Option<Bytes> {
        for redactor in &mut self.redactors[from..] {
            data = redactor.push(data);
        }
        (!data.is_empty()).then_some(data)
    }

    /// What the redactors held back, each one's rest through those after it.
    fn finish(&mut self) {
        for index in 0..self.redactors.len() {
            let rest = self.redactors[index].finish();
            let rest = self.search(index + 1, rest);
            self.ready.extend(rest);
        }
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Bytes, BodyFault>>> {
        self.ended = true;
        Poll::Ready(Some(Err(fault)))
    }

    /// Bytes that are here and have not passed.
    fn kept(&self) -> usize {
        let ready: usize = self.ready.iter().map(Bytes::len).sum();
        let held: usize = self.redactors.iter().map(Redactor::held).sum();
        ready + held
    }
}

impl Body for PassingBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.next(cx).map(|next| next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.kept() == 0 && (self.ended || self.inner.as_ref().is_none_or(Incoming::is_end_stream))
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        let (inner, kept) = (
            self.inner.as_ref().map_or_else(none, Incoming::size_hint),
            self.kept() as u64,
        );
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint.set_lower(inner.lower().saturating_add(kept));
        hint
    }
}
