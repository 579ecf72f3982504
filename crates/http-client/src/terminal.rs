//! Terminals: a WebSocket for each viewer, raw bytes both ways.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_api::{TerminalClientFrame, TerminalServerFrame, paths};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{AttachedTerminal, TerminalControl, TerminalEvent, TerminalSize};
use tokio_tungstenite::tungstenite;

use crate::socket::{self, Fate, Reader, Said, Writer};
use crate::transport::Transport;

const OPERATION: &str = "attach to the terminal";
/// What lines and columns may be.
const SIZES: std::ops::RangeInclusive<u16> = 1..=1000;
/// Bytes of input in one frame.
const INPUT_PIECE: usize = 64 << 10;

/// Looks at a terminal. Dropping what it gives detaches.
pub(crate) async fn attach(
    transport: Arc<Transport>,
    session: SessionId,
    terminal: TerminalId,
    size: TerminalSize,
) -> Result<AttachedTerminal> {
    let target = paths::terminal_stream(&session, &terminal, size);
    let (writer, mut reader) = socket::open(&transport, OPERATION, target).await?;
    let info = match reader.first().await? {
        Said::Text(text) => match reader.understand(&text)? {
            TerminalServerFrame::Attached { info } => info,
            TerminalServerFrame::Error { problem } => return Err(reader.problem(problem)),
            _ => return Err(reader.asked().strange("a terminal that does not begin")),
        },
        Said::Binary(_) => return Err(reader.asked().strange("output before the beginning")),
    };
    // After the end, and after an error, there is no reader any more and so nothing more to give.
    let events = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match next(&mut reader).await {
            Ok(event @ TerminalEvent::Exited(_)) => {
                reader.settle(Fate::Ended);
                Some((Ok(event), None))
            }
            Ok(event) => Some((Ok(event), Some(reader))),
            Err(error) => {
                reader.settle(Fate::Lost);
                Some((Err(error), None))
            }
        }
    });
    Ok(AttachedTerminal {
        info,
        events: events.fuse().boxed(),
        control: Box::new(Control {
            transport,
            terminal,
            writer,
        }),
    })
}

/// Cancel-safe: a frame is handed on by the poll that has it.
async fn next(reader: &mut Reader) -> Result<TerminalEvent> {
    match reader.next().await? {
        None => Err(reader.asked().broken("it closed before the program ended")),
        Some(Said::Binary(bytes)) => Ok(TerminalEvent::Output(bytes)),
        Some(Said::Text(text)) => match reader.understand(&text)? {
            TerminalServerFrame::Resized(size) => Ok(TerminalEvent::Resized(size)),
            TerminalServerFrame::Skipped => Ok(TerminalEvent::Skipped),
            TerminalServerFrame::Exited { exit } => Ok(TerminalEvent::Exited(exit)),
            TerminalServerFrame::Error { problem } => Err(reader.problem(problem)),
            TerminalServerFrame::Attached { .. } => {
                Err(reader.asked().strange("a terminal that begins twice"))
            }
        },
    }
}

struct Control {
    transport: Arc<Transport>,
    terminal: TerminalId,
    writer: Arc<Writer>,
}

impl Control {
    /// What a frame that could not be sent means.
    async fn judge(&self, operation: &'static str, sent: Result<(), tungstenite::Error>) -> Result<()> {
        match sent {
            Ok(()) => Ok(()),
            Err(_) if self.writer.fate().await == Fate::Ended => Err(self.over(operation)),
            Err(error) => Err(self.transport.asked(operation).broken(error)),
        }
    }

    fn over(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::StateConflict, operation, "the terminal has ended")
            .with_context("terminal", self.terminal)
            .with_hint("open another one")
    }
}

#[async_trait]
impl TerminalControl for Control {
    async fn write(&self, mut bytes: Bytes) -> Result<()> {
        let operation = "type into the terminal";
        if self.writer.has_ended() {
            return Err(self.over(operation));
        }
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(INPUT_PIECE));
            let sent = self.writer.bytes(piece).await;
            self.judge(operation, sent).await?;
        }
        Ok(())
    }

    async fn resize(&self, size: TerminalSize) -> Result<()> {
        let operation = "resize the terminal";
        // Nothing answers a frame, and one that is refused ends the connection.
        if !SIZES.contains(&size.rows) || !SIZES.contains(&size.columns) {
            return Err(
                Error::new(ErrorKind::InvalidArgument, operation, "no terminal has this size")
                    .with_context("size", format_args!("{} lines of {}", size.rows, size.columns))
                    .with_hint("lines and columns are 1 to 1000"),
            );
        }
        if self.writer.has_ended() {
            return Ok(());
        }
        let frame = TerminalClientFrame::Resize(size.into());
        let sent = self.writer.tell(&frame).await;
        match self.judge(operation, sent).await {
            // Nobody looks at it any more.
            Err(error) if error.kind() == ErrorKind::StateConflict => Ok(()),
            other => other,
        }
    }
}
