//! A response body that plays a list of beats. It owns no task: when the client goes away, dropping the body is all the cleanup.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Sleep, sleep};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beat {
    Data(Bytes),
    Wait(Duration),
    Hang,
    Abort,
}

/// Plays beats as body frames.
pub(super) struct Playback {
    beats: VecDeque<Beat>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Playback {
    pub(super) fn new(beats: impl Into<VecDeque<Beat>>) -> Self {
        Self {
            beats: beats.into(),
            waiting: None,
        }
    }

    pub(super) fn whole(body: impl Into<Bytes>) -> Self {
        Self::new([Beat::Data(body.into())])
    }
}

/// The reason a body breaks off, which makes hyper tear the connection down instead of ending the body.
#[derive(Debug)]
pub(super) struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script drops the connection")
    }
}

impl std::error::Error for Aborted {}

impl Body for Playback {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            if let Some(sleep) = &mut self.waiting {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.waiting = None;
            }
            match self.beats.pop_front() {
                Some(Beat::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Beat::Wait(delay)) => self.waiting = Some(Box::pin(sleep(delay))),
                Some(Beat::Hang) => {
                    self.beats.push_front(Beat::Hang);
                    // No waker on purpose: only the loss of the connection ends this.
                    return Poll::Pending;
                }
                Some(Beat::Abort) => return Poll::Ready(Some(Err(Aborted))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.beats.is_empty() && self.waiting.is_none()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn beats_are_played_in_time() {
        let pause = Duration::from_secs(3);
        let data = |text: &'static str| Beat::Data(Bytes::from_static(text.as_bytes()));
        let mut body = Playback::new([data("a"), Beat::Wait(pause), data("b"), Beat::Abort]);
        let started = Instant::now();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "b");
        assert_eq!(started.elapsed(), pause);
        assert!(body.frame().await.unwrap().is_err());
    }
}
