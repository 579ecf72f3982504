//! Messages as lines on a byte stream: the standard streams of a program, wherever it runs.
//!
//! The protocol library's own line transport buffers lines of any length and logs those that it cannot parse. This one
//! holds one line of bounded length, bears some junk, and answers in the place of a server whose answer cannot be read, so
//! that nobody waits for it. The library's message types and its service loop are used as they are.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::ledger::Patience;
use super::mask::Mask;
use super::reader::{Line, LineReader};
use super::{Heard, in_place_of, read};
use crate::mcp::call::FailureCause;
use crate::mcp::upstream::Ending;

/// See the module.
pub(crate) struct LineTransport<R, W> {
    reader: LineReader<R>,
    writer: Arc<Mutex<Option<LineWriter<W>>>>,
    closed: CancellationToken,
    mask: Mask,
    patience: Patience,
    ending: Ending,
}

impl<R, W> LineTransport<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    pub(crate) fn new(reader: R, writer: W, max_line: usize, mask: Mask, ending: Ending) -> Self {
        Self {
            reader: LineReader::new(reader, max_line),
            writer: Arc::new(Mutex::new(Some(LineWriter::new(writer)))),
            closed: CancellationToken::new(),
            mask,
            patience: Patience::new(),
            ending,
        }
    }

    /// What a line means. `None` when it means nothing, or the server has said too much of that.
    fn judge(&mut self, line: &Line) -> Option<ServerJsonRpcMessage> {
        let (heard, bytes) = match line {
            Line::Whole(line) => (read(line, &self.mask), line.len()),
            Line::TooLong { bytes, answered } => {
                let heard = match answered.clone() {
                    Some(id) => Heard::Unreadable(id, "the server's answer is longer than messages may be"),
                    None => Heard::Junk,
                };
                (heard, *bytes)
            }
            Line::End => return None,
        };
        match heard {
            Heard::Message(message) => {
                self.patience.restore();
                return Some(*message);
            }
            Heard::Unreadable(id, why) => {
                tracing::debug!(bytes, why, "an answer of an MCP server was dropped");
                if self.patience.strain(0).is_ok() {
                    return Some(in_place_of(id, why));
                }
            }
            Heard::Blank if self.patience.strain(0).is_ok() => return None,
            Heard::Junk if self.patience.strain(bytes).is_ok() => {
                tracing::debug!(bytes, "an MCP server said what is no message");
                return None;
            }
            Heard::Blank | Heard::Junk => {}
        }
        let told = "it writes what is no message to its standard output, too much of it";
        self.ending.fail(FailureCause::Broken, told);
        None
    }
}

impl<R, W> Transport<RoleClient> for LineTransport<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = SendFault;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), SendFault>> + Send + 'static {
        let (writer, closed) = (Arc::clone(&self.writer), self.closed.clone());
        async move {
            let mut line = serde_json::to_vec(&message).map_err(|error| SendFault::before(error.into()))?;
            line.push(b'\n');
            let writing = async {
                match writer.lock().await.as_mut() {
                    Some(writer) => writer.write(line.into()).await,
                    None => Err(SendFault::before(io::ErrorKind::NotConnected.into())),
                }
            };
            // A line is cut only when the connection is given up.
            tokio::select! {
                written = writing => written,
                () = closed.cancelled() => Err(SendFault::unknown(io::ErrorKind::NotConnected.into())),
            }
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            // Cancel-safe: nothing is awaited between a line and its message.
            let line = match self.reader.line().await {
                Ok(Line::End) => return None,
                Ok(line) => line,
                Err(error) => {
                    tracing::debug!(%error, "an MCP server can no longer be read");
                    return None;
                }
            };
            if let Some(message) = self.judge(&line) {
                return Some(message);
            }
            if self.ending.has_failed() {
                return None;
            }
        }
    }

    /// Closes the server's input.
    async fn close(&mut self) -> Result<(), SendFault> {
        self.closed.cancel();
        if let Some(mut writer) = self.writer.lock().await.take() {
            // It may be gone already.
            let _ = writer.io.shutdown().await;
        }
        Ok(())
    }
}

/// Writes lines whole: the next one begins behind the end of the one before, also when that one's writer was given up.
struct LineWriter<W> {
    io: W,
    rest: Bytes,
}

impl<W: AsyncWrite + Unpin> LineWriter<W> {
    fn new(io: W) -> Self {
        Self {
            io,
            rest: Bytes::new(),
        }
    }

    async fn write(&mut self, line: Bytes) -> Result<(), SendFault> {
        self.drain().await.map_err(SendFault::before)?;
        self.rest = line;
        self.drain().await.map_err(|error| {
            // Without its end nobody takes it for a message; the end alone may be missing.
            if self.rest.len() > 1 {
                SendFault::before(error)
            } else {
                SendFault::unknown(error)
            }
        })
    }

    async fn drain(&mut self) -> io::Result<()> {
        while self.rest.has_remaining() {
            if self.io.write_buf(&mut self.rest).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.io.flush().await
    }
}

/// Why a message was not sent.
#[derive(Debug)]
pub(crate) struct SendFault {
    /// Whether the server cannot have read it.
    pub(crate) never_left: bool,
    source: io::Error,
}

impl SendFault {
    fn before(source: io::Error) -> Self {
        Self {
            never_left: true,
            source,
        }
    }

    fn unknown(source: io::Error) -> Self {
        Self {
            never_left: false,
            source,
        }
    }
}

impl fmt::Display for SendFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message could not be sent to the MCP server")
    }
}

impl std::error::Error for SendFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
