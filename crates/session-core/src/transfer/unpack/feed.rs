//! From the stream, which is asynchronous, to the extractor, which is not: a short queue, and an end that is said.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

const QUEUE: usize = 4;

enum Message {
    Chunk(Bytes),
    End,
}

/// The stream's side.
pub(super) struct Feed(mpsc::Sender<Message>);

impl Feed {
    /// `false` when the extractor is gone.
    pub(super) async fn chunk(&self, chunk: Bytes) -> bool {
        self.0.send(Message::Chunk(chunk)).await.is_ok()
    }

    /// The stream is complete. Dropping the feed instead means that it broke off.
    pub(super) async fn end(self) {
        // An extractor that is gone has its own reason to tell.
        let _ = self.0.send(Message::End).await;
    }
}

/// The extractor's side.
pub(super) struct FeedReader {
    queue: mpsc::Receiver<Message>,
    chunk: Bytes,
    ended: bool,
}

/// A feed and its reader.
pub(super) fn channel() -> (Feed, FeedReader) {
    let (sender, queue) = mpsc::channel(QUEUE);
    (
        Feed(sender),
        FeedReader {
            queue,
            chunk: Bytes::new(),
            ended: false,
        },
    )
}

impl FeedReader {
    /// Whether a read has met the stream's end.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }
}

impl Read for FeedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.queue.blocking_recv() {
                Some(Message::Chunk(chunk)) => self.chunk = chunk,
                Some(Message::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the stream broke off",
                    ));
                }
            }
        }
        let count = self.chunk.len().min(into.len());
        self.chunk.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
