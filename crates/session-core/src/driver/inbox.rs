//! What the task was asked for, and which of it cannot wait.
//!
//! Handing a turn to an agent may take long: a container that somebody froze does not answer, a large workspace is
//! compared. What would end the wait, or make it pointless, must not stand behind it.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{QUEUE, Request};
use crate::lifetime::ExpiryCause;

/// Requests in the order in which they came, except those that cannot wait.
pub(super) struct Inbox {
    requests: mpsc::Receiver<Request>,
    /// Came while something else was waited for.
    waiting: VecDeque<Request>,
}

impl Inbox {
    pub(super) fn new(requests: mpsc::Receiver<Request>) -> Self {
        Self {
            requests,
            waiting: VecDeque::new(),
        }
    }

    /// The next request; `None` when nobody can ask any more. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Request> {
        match self.waiting.pop_front() {
            Some(request) => Some(request),
            None => self.requests.recv().await,
        }
    }

    /// The next request that cannot wait; others keep their places. Cancel-safe: a request that was taken out is put
    /// aside before anything else is waited for.
    pub(super) async fn urgent(&mut self) -> Request {
        while self.waiting.len() < QUEUE {
            match self.requests.recv().await {
                Some(request) if request.is_urgent() => return request,
                Some(request) => self.waiting.push_back(request),
                None => break,
            }
        }
        std::future::pending().await
    }

    /// Puts a request back that was broken off for another one, behind that one.
    pub(super) fn put_back(&mut self, broken_off: Request, urgent: Request) {
        self.waiting.push_front(broken_off);
        self.waiting.push_front(urgent);
    }
}

impl Request {
    fn is_urgent(&self) -> bool {
        matches!(
            self,
            Self::Interrupt(_)
                | Self::InterruptTurn(..)
                | Self::Pause(_)
                | Self::Resume(_)
                | Self::Destroy(_)
                | Self::Expire(ExpiryCause::MaximumLife | ExpiryCause::LeaseLapsed, _)
                | Self::Container(_)
                | Self::Look
        )
    }
}
