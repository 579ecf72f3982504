//! The log of what arrived: bounded, because a bench sends a hundred thousand requests of 100 kB to one server.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{ApiRequest, RequestKind};

const MAX_REQUESTS: usize = 4096;
const MAX_BODY_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<ApiRequest>,
    body_bytes: usize,
    dropped: u64,
}

/// Keeps the newest requests and counts those of the conversation.
#[derive(Debug)]
pub(super) struct Recorder {
    kept: Mutex<Kept>,
    conversation: watch::Sender<u64>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            conversation: watch::Sender::new(0),
        }
    }

    pub(super) fn record(&self, request: ApiRequest) {
        let is_conversation = request.kind == RequestKind::Conversation;
        self.kept().push(request);
        if is_conversation {
            self.conversation.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn requests(&self) -> Vec<ApiRequest> {
        self.kept().requests.iter().cloned().collect()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.kept().dropped
    }

    pub(super) fn clear(&self) {
        *self.kept() = Kept::default();
    }

    pub(super) fn conversation_count(&self) -> u64 {
        *self.conversation.borrow()
    }

    pub(super) async fn wait_for_conversation(&self, count: u64) {
        let mut seen = self.conversation.subscribe();
        // The sender lives in `self`, so the wait can only end by counting.
        let _reached = seen.wait_for(|seen| *seen >= count).await.is_ok();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, request: ApiRequest) {
        self.body_bytes += request.body.len();
        self.requests.push_back(request);
        while self.requests.len() > MAX_REQUESTS || self.body_bytes > MAX_BODY_BYTES {
            let Some(oldest) = self.requests.pop_front() else {
                break;
            };
            self.body_bytes -= oldest.body.len();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use hyper::HeaderMap;

    use super::*;

    fn request(body: Bytes) -> ApiRequest {
        ApiRequest::new(
            "POST".into(),
            "/v1/messages".into(),
            HeaderMap::new(),
            body,
            Duration::ZERO,
            Default::default(),
        )
    }

    #[test]
    fn the_oldest_requests_go_first_and_are_counted() {
        let recorder = Recorder::new();
        for _ in 0..MAX_REQUESTS + 3 {
            recorder.record(request(Bytes::from_static(b"{}")));
        }
        assert_eq!(recorder.requests().len(), MAX_REQUESTS);
        assert_eq!(recorder.dropped(), 3);
        assert_eq!(recorder.conversation_count(), MAX_REQUESTS as u64 + 3);
    }

    #[test]
    fn large_bodies_are_bounded_by_their_sum() {
        let recorder = Recorder::new();
        let body = Bytes::from(vec![b' '; MAX_BODY_BYTES / 4]);
        for _ in 0..6 {
            recorder.record(request(body.clone()));
        }
        assert_eq!(recorder.requests().len(), 4);
        assert_eq!(recorder.dropped(), 2);
    }
}
