//! The endpoint for people's own clients, on standard streams: one message a line, in bounded memory, whatever the other
//! side does.
//!
//! The protocol library's own line transport reads for ever from a client that never reads, drops long lines without an
//! answer, and logs lines that it cannot parse. This one answers what it refuses and stops to read while its answers are
//! not read. The library's message types and its service loop are used as they are.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ClientNotification, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::limits::{Admission, Load};
use super::{Refusal, typed};

const CHUNK: usize = 64 << 10;
/// The code of a refusal for lack of room; the range that JSON-RPC leaves to servers.
const TOO_MANY: i32 = -32000;

/// See the module.
pub(in crate::mcp::door) struct LineTransport<R, W> {
    reader: R,
    buffer: BytesMut,
    /// How much of the buffer has no line end in it.
    searched: usize,
    /// The rest of a line that was refused for its length.
    skipping: bool,
    max_line: usize,
    writer: Arc<Mutex<W>>,
    closed: CancellationToken,
    /// Cancelled when the client has closed its end.
    ended: CancellationToken,
    load: Load,
    /// An answer of our own that is on its way.
    answering: Option<BoxFuture<'static, io::Result<()>>>,
    /// Whether a request has come: before, notifications mean nothing.
    begun: bool,
}

enum Line {
    Whole(BytesMut),
    TooLong,
    End,
}

impl<R, W> LineTransport<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    /// `ended` is cancelled when the client has closed its end; answers are written until the transport is closed.
    pub(in crate::mcp::door) fn new(reader: R, writer: W, max_line: usize, ended: CancellationToken) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            searched: 0,
            skipping: false,
            max_line,
            writer: Arc::new(Mutex::new(writer)),
            closed: CancellationToken::new(),
            ended,
            load: Load::new(),
            answering: None,
            begun: false,
        }
    }

    /// The next line. Cancel-safe: what was read stays in the buffer.
    async fn line(&mut self) -> io::Result<Line> {
        loop {
            if let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                self.shrink();
                if !std::mem::take(&mut self.skipping) {
                    return Ok(if line.len() > self.max_line {
                        Line::TooLong
                    } else {
                        Line::Whole(line)
                    });
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.searched > self.max_line || self.skipping {
                self.buffer = BytesMut::new();
                self.searched = 0;
                if !std::mem::replace(&mut self.skipping, true) {
                    return Ok(Line::TooLong);
                }
            }
            self.buffer.reserve(CHUNK);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Line::End);
            }
        }
    }

    /// A long message must not hold its memory for the rest of the connection.
    fn shrink(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 4 * CHUNK {
            self.buffer = BytesMut::new();
        }
    }

    /// What a line means, or what is answered to it at once.
    fn judge(&mut self, line: &[u8]) -> Option<Result<ClientJsonRpcMessage, Refusal>> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let message = match typed(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)) {
            Ok(message) => message,
            Err(refusal) => return Some(Err(refusal)),
        };
        match &message {
            ClientJsonRpcMessage::Request(request) => {
                self.begun = true;
                match self.load.admit(&request.id) {
                    Admission::Granted => {}
                    Admission::Duplicate => {
                        // Answered without the id: it belongs to the request that came first.
                        return Some(Err(Refusal::new(ErrorData::invalid_request(
                            "a request with this id is not answered yet",
                            None,
                        ))));
                    }
                    Admission::TooMany => {
                        return Some(Err(Refusal {
                            id: Some(request.id.clone()),
                            error: ErrorData::new(
                                rmcp::model::ErrorCode(TOO_MANY),
                                "too many requests are not answered yet: wait for some of them",
                                None,
                            ),
                        }));
                    }
                }
            }
            // The library ends a connection whose first message is anything but a request.
            _ if !self.begun => return None,
            ClientJsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    // Nothing is answered to a request that was taken back.
                    self.load.close(id);
                }
            }
            _ => {}
        }
        Some(Ok(message))
    }

    fn write(&self, message: ServerJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let queued = self.load.queue();
        let (writer, closed) = (self.writer.clone(), self.closed.clone());
        async move {
            let _queued = queued;
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            let writing = async {
                let mut writer = writer.lock().await;
                writer.write_all(&line).await?;
                writer.flush().await
            };
            // A frame is cut only when the connection is given up.
            tokio::select! {
                written = writing => written,
                () = closed.cancelled() => Err(io::Error::new(io::ErrorKind::NotConnected, "the connection is closed")),
            }
        }
    }
}

impl<R, W> Transport<RoleServer> for LineTransport<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        match &message {
            ServerJsonRpcMessage::Response(response) => self.load.close(&response.id),
            ServerJsonRpcMessage::Error(error) => {
                if let Some(id) = &error.id {
                    self.load.close(id);
                }
            }
            _ => {}
        }
        self.write(message)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(answering) = &mut self.answering {
                // Kept in self, so a cancelled receive goes on with it.
                let answered = answering.await;
                self.answering = None;
                answered.ok()?;
            }
            self.load.wait_for_reader().await;
            let judged = match self.line().await {
                Ok(Line::Whole(line)) => self.judge(&line),
                Ok(Line::TooLong) => Some(Err(Refusal {
                    id: None,
                    error: ErrorData::invalid_request(
                        format!(
                            "the message is longer than {} bytes and was dropped",
                            self.max_line
                        ),
                        None,
                    ),
                })),
                Ok(Line::End) => {
                    self.ended.cancel();
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, "the client's messages can no longer be read");
                    self.ended.cancel();
                    return None;
                }
            };
            match judged {
                Some(Ok(message)) => return Some(message),
                Some(Err(Refusal { id, error })) => {
                    tracing::debug!(code = error.code.0, "a message was refused");
                    self.answering = Some(self.write(ServerJsonRpcMessage::error(error, id)).boxed());
                }
                None => {}
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.closed.cancel();
        Ok(())
    }
}
