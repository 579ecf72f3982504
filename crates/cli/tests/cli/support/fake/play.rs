//! What a turn or a command does, step by step as the script says.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cli::interrupts::Interrupt;
use futures::{StreamExt, stream};
use session_core::api::EventStream;
use session_core::command::{
    CommandControl, CommandEvent, CommandExit, ExitCause, OutputStream, RunningCommand,
};
use session_core::error::Result;
use session_core::event::{Event, EventKind};
use session_core::id::{CommandId, SessionId};
use session_core::turn::TurnOutcome;
use tokio::sync::{broadcast, watch};

use super::Fake;
use crate::support::fixtures;

/// One step of a turn or of a command.
#[derive(Clone)]
pub(crate) enum Step {
    /// An event of the turn.
    Event(EventKind),
    /// The end of the turn.
    End(TurnOutcome),
    /// The user presses keys, or somebody sends us a signal.
    Signal(Interrupt),
    /// Goes on when the turn was interrupted.
    UntilInterrupted,
    /// The command writes.
    Write(OutputStream, &'static [u8]),
    /// Output of the command is gone.
    Gap(u64, u64),
    /// Goes on when the command got this signal.
    UntilSignalled(i32),
    /// Goes on when the command's input was ended.
    UntilInputEnds,
    /// The command ends.
    Exit(ExitCause, Option<i32>, Option<i32>),
    /// Nothing more ever happens.
    Hang,
}

/// What a command got.
#[derive(Default)]
pub(super) struct Steered {
    pub(super) input: Mutex<Vec<u8>>,
    pub(super) signals: watch::Sender<Vec<i32>>,
    pub(super) input_ended: watch::Sender<bool>,
}

impl Fake {
    /// The turn of the script, for a session.
    pub(super) fn playing(&self, session: SessionId) -> EventStream {
        let script = TurnScript {
            session,
            steps: self.turn.clone().into_iter(),
            seq: 0,
            signals: self.signals.clone(),
            interrupted: self.interrupted.subscribe(),
        };
        let events = stream::unfold(script, |mut script| async move {
            let event = script.next().await?;
            Some((Ok(event), script))
        });
        events.boxed()
    }

    /// The command of the script.
    pub(super) fn running(&self, id: CommandId) -> RunningCommand {
        let script = CommandScript {
            steps: self.command.clone().into_iter(),
            offset: 0,
            signals: self.signals.clone(),
            steered: self.steered.clone(),
        };
        let events = stream::unfold(script, |mut script| async move {
            let event = script.next().await?;
            Some((Ok(event), script))
        });
        RunningCommand {
            id,
            events: events.boxed(),
            control: Box::new(Control(self.steered.clone())),
        }
    }
}

/// The events of a turn, played step by step.
struct TurnScript {
    session: SessionId,
    steps: std::vec::IntoIter<Step>,
    seq: u64,
    signals: broadcast::Sender<Interrupt>,
    interrupted: watch::Receiver<bool>,
}

impl TurnScript {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let kind = match self.steps.next()? {
                Step::Event(kind) => kind,
                Step::End(outcome) => EventKind::TurnFinished { outcome },
                Step::Signal(signal) => {
                    self.signals.send(signal).unwrap();
                    tokio::task::yield_now().await;
                    continue;
                }
                Step::UntilInterrupted => {
                    self.interrupted.wait_for(|done| *done).await.unwrap();
                    continue;
                }
                _ => std::future::pending().await,
            };
            self.seq += 1;
            return Some(fixtures::event(
                self.session,
                self.seq,
                Some(fixtures::turn_id()),
                kind,
            ));
        }
    }
}

/// The events of a command, played step by step.
struct CommandScript {
    steps: std::vec::IntoIter<Step>,
    offset: u64,
    signals: broadcast::Sender<Interrupt>,
    steered: Arc<Steered>,
}

impl CommandScript {
    async fn next(&mut self) -> Option<CommandEvent> {
        loop {
            match self.steps.next()? {
                Step::Write(stream, bytes) => {
                    let offset = self.offset;
                    self.offset += u64::try_from(bytes.len()).unwrap();
                    let bytes = Bytes::from_static(bytes);
                    return Some(CommandEvent::Output {
                        stream,
                        offset,
                        bytes,
                    });
                }
                Step::Gap(from, to) => {
                    self.offset = to;
                    return Some(CommandEvent::Gap { from, to });
                }
                Step::Exit(cause, code, signal) => {
                    return Some(CommandEvent::Exited(CommandExit {
                        cause,
                        code,
                        signal,
                        duration_ms: 12,
                        output_bytes: self.offset,
                    }));
                }
                Step::Signal(signal) => {
                    self.signals.send(signal).unwrap();
                    tokio::task::yield_now().await;
                }
                Step::UntilSignalled(number) => {
                    let mut signals = self.steered.signals.subscribe();
                    signals.wait_for(|seen| seen.contains(&number)).await.unwrap();
                }
                Step::UntilInputEnds => {
                    let mut ended = self.steered.input_ended.subscribe();
                    ended.wait_for(|ended| *ended).await.unwrap();
                }
                _ => std::future::pending().await,
            }
        }
    }
}

struct Control(Arc<Steered>);

#[async_trait]
impl CommandControl for Control {
    async fn write(&self, bytes: Bytes) -> Result<()> {
        self.0.input.lock().unwrap().extend_from_slice(&bytes);
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        self.0.input_ended.send_replace(true);
        Ok(())
    }

    async fn signal(&self, signal: i32) -> Result<()> {
        self.0.signals.send_modify(|signals| signals.push(signal));
        Ok(())
    }
}
