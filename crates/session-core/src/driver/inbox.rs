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
        while self.has_room() {
            match self.requests.recv().await {
                Some(request) if request.is_urgent() => return request,
                Some(request) => self.waiting.push_back(request),
                None => break,
            }
        }
        std::future::pending().await
    }

    /// The next request that would wait for a session to come back in vain. Cancel-safe, as above. Whatever else only has the
    /// container looked at has it looked at once.
    pub(super) async fn cannot_wait_for_comeback(&mut self) -> Request {
        while self.has_room() {
            match self.requests.recv().await {
                Some(request) if request.cannot_wait_for_comeback() => return request,
                Some(Request::Look | Request::Container(_)) => {
                    if !self.waiting.iter().any(|known| matches!(known, Request::Look)) {
                        self.waiting.push_back(Request::Look);
                    }
                }
                Some(request) => self.waiting.push_back(request),
                None => break,
            }
        }
        std::future::pending().await
    }

    /// Waits until somebody wants the end of the session, which is the next request then. Cancel-safe, as above.
    pub(super) async fn end_asked(&mut self) {
        while self.has_room() {
            match self.requests.recv().await {
                Some(request @ Request::Destroy(_)) => {
                    self.waiting.push_front(request);
                    return;
                }
                Some(request) => self.waiting.push_back(request),
                None => break,
            }
        }
        std::future::pending().await
    }

    /// Whether another request can be put aside. Those who look again and again, and do not wait for the answer, take nobody's
    /// place.
    fn has_room(&mut self) -> bool {
        if self.waiting.len() >= QUEUE {
            self.waiting.retain(|request| !request.is_pointless());
        }
        self.waiting.len() < QUEUE
    }

    /// Puts a request back that was broken off for another one, behind that one.
    pub(super) fn put_back(&mut self, broken_off: Request, urgent: Request) {
        self.waiting.push_front(broken_off);
        self.waiting.push_front(urgent);
    }
}

impl Request {
    /// Whether its answer is another one, or its work worth less, once the session is back.
    fn cannot_wait_for_comeback(&self) -> bool {
        matches!(
            self,
            Self::Interrupt(_)
                | Self::InterruptTurn(..)
                | Self::Pause(_)
                | Self::Destroy(_)
                | Self::Expire(ExpiryCause::MaximumLife | ExpiryCause::LeaseLapsed, ..)
        )
    }

    /// Whether it only tells what nobody waits for any more.
    fn is_pointless(&self) -> bool {
        matches!(self, Self::Refresh(answer) if answer.is_closed())
    }

    fn is_urgent(&self) -> bool {
        matches!(
            self,
            Self::Interrupt(_)
                | Self::InterruptTurn(..)
                | Self::Pause(_)
                | Self::Resume(_)
                | Self::Destroy(_)
                | Self::Expire(ExpiryCause::MaximumLife | ExpiryCause::LeaseLapsed, ..)
                | Self::Container(_)
                | Self::Look
        )
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::runtime::ContainerEventKind;

    #[tokio::test]
    async fn whoever_watches_the_container_fills_nothing_while_a_session_comes_back() {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let mut inbox = Inbox::new(inbox);
        let telling = tokio::spawn(async move {
            for _ in 0..4 * QUEUE {
                assert!(requests.send(Request::Look).await.is_ok());
                let event = Request::Container(ContainerEventKind::Paused);
                assert!(requests.send(event).await.is_ok());
            }
            let (answer, _) = oneshot::channel();
            assert!(requests.send(Request::Refresh(answer)).await.is_ok());
            let (answer, _) = oneshot::channel();
            assert!(requests.send(Request::Destroy(answer)).await.is_ok());
            requests
        });
        let urgent = inbox.cannot_wait_for_comeback().await;
        assert!(matches!(urgent, Request::Destroy(_)));
        let _open = telling.await.unwrap();
        assert!(matches!(inbox.next().await, Some(Request::Look)));
        assert!(matches!(inbox.next().await, Some(Request::Refresh(_))));
        assert!(inbox.waiting.is_empty());
    }
}
