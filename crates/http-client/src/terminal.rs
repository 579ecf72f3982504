//! Terminals: a WebSocket for each viewer, raw bytes both ways.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_api::{TerminalClientFrame, TerminalServerFrame, paths};
use session_core::error::Result;
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{AttachedTerminal, TerminalControl, TerminalEvent, TerminalSize};

use crate::socket::{self, Reader, Said, Writer};
use crate::transport::Transport;

const OPERATION: &str = "attach to the terminal";
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
            Ok(event @ TerminalEvent::Exited(_)) => Some((Ok(event), None)),
            Ok(event) => Some((Ok(event), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(AttachedTerminal {
        info,
        events: events.fuse().boxed(),
        control: Box::new(Control { transport, writer }),
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
    writer: Arc<Writer>,
}

#[async_trait]
impl TerminalControl for Control {
    async fn write(&self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(INPUT_PIECE));
            let sent = self.writer.bytes(piece).await;
            sent.map_err(|error| self.transport.asked("write to the terminal").broken(error))?;
        }
        Ok(())
    }

    async fn resize(&self, size: TerminalSize) -> Result<()> {
        let frame = TerminalClientFrame::Resize(size.into());
        let sent = self.writer.tell(&frame).await;
        sent.map_err(|error| self.transport.asked("resize the terminal").broken(error))
    }
}
