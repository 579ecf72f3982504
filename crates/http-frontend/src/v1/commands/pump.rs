//! Carries a command's life over a WebSocket.
//!
//! ```text
//!            ┌─ listen: frames ─▶ signals, acknowledgements ─┐
//!  client ◀──┤                 └▶ a short queue ─▶ write     ├── the first that ends, ends all
//!            └─ tell: events ◀── (acknowledged) ◀────────────┘
//! ```
//!
//! Output of a detached command is asked for only after what was sent was acknowledged, because asking tells the core
//! that it need not keep what it gave. There is one exception: a client whose input does not get on. Its acknowledgements
//! stand behind that input, and the input may wait for the output to be taken; so then output flows without them.

use bytes::Bytes;
use futures::stream::BoxStream;
use http_api::{CommandClientFrame, CommandServerFrame, OutputFrame, SurfaceCode};
use session_core::command::{CommandControl, CommandEvent, RunningCommand};
use session_core::error::Result as CoreResult;
use session_core::id::CommandId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::problem::Failure;
use crate::v1::ws::{Gone, Incoming, Outgoing, Socket, Word};

/// How many pieces of input wait for the command.
const QUEUE: usize = 16;

/// A command and its reader.
pub(super) struct Pump {
    /// The command.
    pub(super) running: RunningCommand,
    /// Whether output waits for acknowledgements.
    pub(super) acknowledged: bool,
    /// Where the reader begins.
    pub(super) from: u64,
    /// What is written first.
    pub(super) start: Start,
}

/// What is written to a command before anything else.
pub(super) enum Start {
    /// Nothing.
    Nothing,
    /// The whole of its input.
    Input(Bytes),
}

/// What is to be done to the standard input.
enum Feed {
    Write(Bytes),
    End,
}

/// How far the client has come.
#[derive(Clone, Copy)]
struct Reached {
    /// Everything before this position has arrived there.
    offset: u64,
    /// Its input does not get on, so its acknowledgements cannot either.
    stuck: bool,
}

impl Pump {
    /// Until the command has ended or the client has gone. Dropping the command then is what its caller wanted.
    pub(super) async fn run(self, socket: Socket) {
        let Self {
            running: RunningCommand { id, events, control },
            acknowledged,
            from,
            start,
        } = self;
        let Socket {
            mut outgoing,
            mut incoming,
        } = socket;
        let (feeding, fed) = mpsc::channel(QUEUE);
        if let Start::Input(input) = start {
            // There is room: the queue is new.
            let _ = feeding.try_send(Feed::Write(input));
            let _ = feeding.try_send(Feed::End);
        }
        let (reaching, reached) = watch::channel(Reached {
            offset: from,
            stuck: false,
        });
        let told = tell(&mut outgoing, id, events, acknowledged.then_some(reached));
        let heard = listen(&mut incoming, &*control, &feeding, &reaching);
        let written = write(&*control, fed);
        // Whichever ends first ends the others where they stand: the command has ended, or its reader has gone or said
        // what nobody understands, and what is still on its way to either has no taker. `write` never ends by itself.
        let ending = tokio::select! {
            ending = told => ending,
            failure = heard => failure.map_or(Ok(()), |failure| Err(Some(failure))),
            () = written => Ok(()),
        };
        if let Err(Some(failure)) = ending {
            let problem = failure.problem().clone();
            let _ = outgoing.text(&CommandServerFrame::Error { problem }).await;
        }
        outgoing.close().await;
    }
}

/// Tells the client what the command does. Fails with nothing when the client has gone.
async fn tell(
    outgoing: &mut Outgoing,
    command: CommandId,
    mut events: BoxStream<'static, CoreResult<CommandEvent>>,
    mut reached: Option<watch::Receiver<Reached>>,
) -> Result<(), Option<Failure>> {
    let gone = |_: Gone| None;
    let started = CommandServerFrame::Started { command };
    outgoing.text(&started).await.map_err(gone)?;
    while let Some(event) = outgoing.next_of(&mut events).await.map_err(gone)? {
        match event.map_err(|error| Some(error.into()))? {
            CommandEvent::Output {
                stream,
                offset,
                bytes,
            } => {
                let end = offset + bytes.len() as u64;
                let frame = OutputFrame {
                    stream,
                    offset,
                    bytes,
                };
                outgoing.binary(frame.encode()).await.map_err(gone)?;
                if let Some(reached) = &mut reached {
                    acknowledgement(outgoing, reached, end).await.map_err(gone)?;
                }
            }
            CommandEvent::Gap { from, to } => {
                let gap = CommandServerFrame::Gap { from, to };
                outgoing.text(&gap).await.map_err(gone)?;
            }
            CommandEvent::Exited(exit) => {
                let exited = CommandServerFrame::Exited { exit };
                return outgoing.text(&exited).await.map_err(gone);
            }
        }
    }
    Ok(())
}

/// Waits until the client has everything before `end`, or cannot say so.
async fn acknowledgement(
    outgoing: &mut Outgoing,
    reached: &mut watch::Receiver<Reached>,
    end: u64,
) -> Result<(), Gone> {
    let arrived = reached.wait_for(|reached| reached.stuck || reached.offset >= end);
    let once = futures::stream::once(async { arrived.await.map(drop).map_err(|_| Gone) });
    // Asked with signs of life: the client may take its time.
    outgoing.next_of(Box::pin(once)).await?.unwrap_or(Err(Gone))
}

/// Hears what the client says, until it has gone (nothing) or says what nobody understands.
async fn listen(
    incoming: &mut Incoming,
    control: &dyn CommandControl,
    feeding: &mpsc::Sender<Feed>,
    reaching: &watch::Sender<Reached>,
) -> Option<Failure> {
    loop {
        let fed = match incoming.next::<CommandClientFrame>().await? {
            Ok(Word::Bytes(bytes)) => Feed::Write(bytes),
            Ok(Word::Frame(CommandClientFrame::Eof {})) => Feed::End,
            Ok(Word::Frame(CommandClientFrame::Signal { signal })) => {
                // Nothing answers a frame; whoever wants to know whether it arrived asks over the route for it.
                if let Err(error) = control.signal(signal).await {
                    tracing::debug!(%error, "a signal could not be sent");
                }
                continue;
            }
            Ok(Word::Frame(CommandClientFrame::Ack { offset })) => {
                reaching.send_modify(|reached| reached.offset = reached.offset.max(offset));
                continue;
            }
            Ok(Word::Frame(CommandClientFrame::Start(_))) => {
                return Some(Failure::new(
                    SurfaceCode::BadRequest,
                    "the command has been started already",
                ));
            }
            Err(failure) => return Some(failure),
        };
        if !hand_over(feeding, fed, reaching).await {
            return None;
        }
    }
}

/// Queues input, and says so while there is no room. False when nobody takes it.
async fn hand_over(feeding: &mpsc::Sender<Feed>, fed: Feed, reaching: &watch::Sender<Reached>) -> bool {
    match feeding.try_send(fed) {
        Ok(()) => true,
        Err(TrySendError::Closed(_)) => false,
        Err(TrySendError::Full(fed)) => {
            reaching.send_modify(|reached| reached.stuck = true);
            let sent = feeding.send(fed).await;
            reaching.send_modify(|reached| reached.stuck = false);
            sent.is_ok()
        }
    }
}

/// Writes input. What the command does not take is lost, as with a pipe that nobody reads.
async fn write(control: &dyn CommandControl, mut fed: mpsc::Receiver<Feed>) {
    while let Some(feed) = fed.recv().await {
        let _ = match feed {
            Feed::Write(bytes) => control.write(bytes).await,
            Feed::End => control.close_stdin().await,
        };
    }
    // Its end is not the command's.
    std::future::pending().await
}
