//! Commands: one WebSocket each, from the start to the end.
//!
//! The caller's own asking is what reads: no task reads ahead. What the caller does not read waits in the buffers of the
//! connection, then in the server's, and at last in the session's spool, as if the manager were in this process. Asking
//! for the next event of a command that outlives its caller first acknowledges the ones before; the server hands on no
//! more than it was told of. Dropping the events closes the connection, and the server does what
//! [`OnDisconnect`] says.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_api::{CommandBody, CommandClientFrame, CommandServerFrame, OutputFrame, SignalBody, paths};
use hyper::Method;
use session_core::command::{CommandControl, CommandEvent, CommandRequest, OnDisconnect, RunningCommand};
use session_core::error::{Error, Result};
use session_core::id::{CommandId, SessionId};
use tokio_tungstenite::tungstenite;

use crate::answer;
use crate::socket::{self, Fate, Reader, Said, Writer};
use crate::transport::{Call, Transport};

const OPERATION: &str = "run a command";
/// Bytes of input in one frame: little enough that a signal or an end does not wait behind much.
const INPUT_PIECE: usize = 64 << 10;

/// Starts a command.
pub(crate) async fn run(
    transport: Arc<Transport>,
    session: SessionId,
    request: CommandRequest,
) -> Result<RunningCommand> {
    // Before megabytes of arguments that nobody takes are sent.
    session_core::policy::limits::validate_command(&request)?;
    let acknowledges = request.on_disconnect == OnDisconnect::Detach;
    // Whoever asks again with the same key comes back to what began.
    let keyed = request.idempotency_key.is_some();
    let (writer, reader) = socket::open(&transport, OPERATION, paths::command_stream(&session)).await?;
    let start = CommandClientFrame::Start(CommandBody::from(request));
    if let Err(error) = writer.tell(&start).await {
        return Err(doubtful(reader.asked().broken(error), keyed));
    }
    started(transport, session, writer, reader, acknowledges, keyed).await
}

/// Comes back to a command.
pub(crate) async fn attach(
    transport: Arc<Transport>,
    session: SessionId,
    command: CommandId,
    offset: u64,
) -> Result<RunningCommand> {
    let target = paths::attach_command(&session, &command, offset);
    let (writer, reader) = socket::open(&transport, "attach to a command", target).await?;
    started(transport, session, writer, reader, true, false).await
}

async fn started(
    transport: Arc<Transport>,
    session: SessionId,
    writer: Arc<Writer>,
    mut reader: Reader,
    acknowledges: bool,
    harmless: bool,
) -> Result<RunningCommand> {
    let first = reader.first().await;
    // Whether it began is not known then, and it ends with the connection unless it outlives its caller.
    let command = match first.map_err(|error| doubtful(error, harmless))? {
        Said::Text(text) => match reader.understand(&text)? {
            CommandServerFrame::Started { command } => command,
            CommandServerFrame::Error { problem } => return Err(reader.problem(problem)),
            _ => return Err(reader.asked().strange("a command that does not begin")),
        },
        Said::Binary(_) => return Err(reader.asked().strange("output before the beginning")),
    };
    let control = Control {
        transport,
        session,
        command,
        writer: writer.clone(),
    };
    let events = Events {
        reader,
        writer,
        unacknowledged: None,
        acknowledges,
        done: false,
    };
    let events = stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((event, events))
    });
    Ok(RunningCommand {
        id: command,
        events: events.fuse().boxed(),
        control: Box::new(control),
    })
}

/// What may have begun is not begun again, unless asking again is harmless.
fn doubtful(error: Error, harmless: bool) -> Error {
    if harmless {
        error
    } else {
        error.with_retryable(false)
    }
}

/// Reads the events.
struct Events {
    reader: Reader,
    writer: Arc<Writer>,
    /// The end of what was handed out and not acknowledged.
    unacknowledged: Option<u64>,
    acknowledges: bool,
    done: bool,
}

impl Events {
    /// Cancel-safe: an acknowledgement that was cut off is made again, and a frame is handed on by the poll that has it.
    async fn next(&mut self) -> Option<Result<CommandEvent>> {
        if self.done {
            return None;
        }
        let event = self.read().await;
        let fate = match &event {
            Ok(CommandEvent::Exited(_)) => Fate::Ended,
            Ok(_) => return Some(event),
            Err(_) => Fate::Lost,
        };
        self.done = true;
        self.reader.settle(fate);
        Some(event)
    }

    async fn read(&mut self) -> Result<CommandEvent> {
        let event = match self.said().await? {
            None => return Err(self.reader.asked().broken("it closed before the command ended")),
            Some(Said::Binary(message)) => self.output(message)?,
            Some(Said::Text(text)) => match self.reader.understand(&text)? {
                CommandServerFrame::Gap { from, to } => CommandEvent::Gap { from, to },
                CommandServerFrame::Exited { exit } => CommandEvent::Exited(exit),
                CommandServerFrame::Error { problem } => return Err(self.reader.problem(problem)),
                CommandServerFrame::Started { .. } => {
                    return Err(self.reader.asked().strange("a command that begins twice"));
                }
            },
        };
        if self.acknowledges {
            self.unacknowledged = end(&event);
        }
        Ok(event)
    }

    fn output(&self, message: Bytes) -> Result<CommandEvent> {
        let frame = OutputFrame::decode(message).map_err(|source| {
            self.reader
                .asked()
                .strange("a frame of another form")
                .with_source(source)
        })?;
        Ok(CommandEvent::Output {
            stream: frame.stream,
            offset: frame.offset,
            bytes: frame.bytes,
        })
    }

    /// What the server says next, once it was told what has arrived. Input that does not get on stands before that, and
    /// the program may want its output taken first; the server knows, and goes on without having been told.
    async fn said(&mut self) -> Result<Option<Said>> {
        let Some(offset) = self.unacknowledged else {
            return self.reader.next().await;
        };
        let acknowledgement = CommandClientFrame::Ack { offset };
        let sent = tokio::select! {
            biased;
            // Losing it has told the server or has not; the next acknowledgement says the same and more.
            sent = self.writer.tell(&acknowledgement) => sent,
            // Losing it loses nothing that was read.
            said = self.reader.next() => return said,
        };
        // A command that has ended closes the connection, and what it said last is still there to be read.
        drop(sent);
        self.unacknowledged = None;
        self.reader.next().await
    }
}

/// Up to where output was handed out with an event.
fn end(event: &CommandEvent) -> Option<u64> {
    match event {
        CommandEvent::Output { offset, bytes, .. } => Some(offset.saturating_add(bytes.len() as u64)),
        CommandEvent::Gap { to, .. } => Some(*to),
        CommandEvent::Exited(_) => None,
    }
}

struct Control {
    transport: Arc<Transport>,
    session: SessionId,
    command: CommandId,
    writer: Arc<Writer>,
}

impl Control {
    /// What a frame that could not be sent means. Bytes for a program that reads no more are dropped, as by a pipe whose
    /// reader is gone.
    async fn judge(&self, operation: &'static str, sent: Result<(), tungstenite::Error>) -> Result<()> {
        match sent {
            Err(error) if self.writer.fate().await != Fate::Ended => {
                Err(self.transport.asked(operation).broken(error))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl CommandControl for Control {
    async fn write(&self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(INPUT_PIECE));
            let sent = self.writer.bytes(piece).await;
            self.judge("write to the command", sent).await?;
        }
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        let sent = self.writer.tell(&CommandClientFrame::Eof {}).await;
        self.judge("end the command's input", sent).await
    }

    /// A request of its own: it does not wait behind input that the program does not read.
    async fn signal(&self, signal: i32) -> Result<()> {
        let operation = "signal the command";
        let target = paths::signal(&self.session, &self.command);
        let call = Call::new(operation, Method::POST, target).json(&SignalBody { signal })?;
        let response = self.transport.send(call).await?;
        answer::nothing(self.transport.asked(operation), response).await
    }
}
