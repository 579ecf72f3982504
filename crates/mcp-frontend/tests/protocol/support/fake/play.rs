//! What the fake's agents and commands do, in tasks of their own.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use session_core::command::{CommandControl, CommandEvent, ExitCause, RunningCommand};
use session_core::error::{Error, ErrorKind, Result};
use session_core::event::EventKind;
use session_core::id::{CommandId, SessionId, TurnId};
use session_core::state::SessionState;
use session_core::turn::{TurnOutcome, TurnStatus};

use super::super::script::{Act, Step, ended, outcome};
use super::{Command, Fake};

impl Fake {
    pub(super) async fn play(self: Arc<Self>, id: SessionId, turn: TurnId, acts: Vec<Act>) {
        let interrupt = self
            .with(&id, |session| session.interrupts[&turn].clone())
            .unwrap();
        while !self.is_first(&id, &turn) {
            // Turns run one at a time. Interrupting takes back those that wait.
            let mut changed = self.changed.subscribe();
            tokio::select! {
                _ = changed.changed() => {}
                () = interrupt.cancelled() => return self.finish(&id, turn, outcome(TurnStatus::Interrupted, "")),
            }
        }
        let _ = self.with(&id, |session| {
            session.info.state = SessionState::Busy;
            let turn = session.turns.iter_mut().find(|other| other.id == turn).unwrap();
            turn.status = TurnStatus::Running;
        });
        self.emit(&id, Some(turn), EventKind::TurnStarted);
        let mut end = outcome(TurnStatus::Succeeded, "done");
        for act in acts {
            let acting = async {
                match act {
                    Act::Event(kind) => {
                        self.emit(&id, Some(turn), kind);
                        None
                    }
                    Act::Sleep(time) => {
                        tokio::time::sleep(time).await;
                        None
                    }
                    Act::Hang => std::future::pending().await,
                    Act::End(outcome) => Some(outcome),
                }
            };
            tokio::select! {
                ended = acting => if let Some(ended) = ended {
                    end = ended;
                    break;
                },
                () = interrupt.cancelled() => {
                    end = outcome(TurnStatus::Interrupted, "");
                    break;
                }
            }
        }
        self.finish(&id, turn, end);
    }

    fn is_first(&self, id: &SessionId, turn: &TurnId) -> bool {
        self.with(id, |session| {
            session
                .turns
                .iter()
                .find(|turn| !turn.status.is_ended())
                .map(|turn| turn.id)
        })
        .unwrap()
        .is_none_or(|first| first == *turn)
    }

    fn finish(&self, id: &SessionId, turn: TurnId, end: TurnOutcome) {
        let _ = self.with(id, |session| {
            let turn = session.turns.iter_mut().find(|other| other.id == turn).unwrap();
            turn.status = end.status;
            turn.outcome = Some(end.clone());
            session.info.cost_usd += end.cost_usd.unwrap_or_default();
            if session.info.state == SessionState::Busy {
                session.info.state = SessionState::Ready;
            }
        });
        self.emit(id, Some(turn), EventKind::TurnFinished { outcome: end });
    }

    pub(super) async fn run(
        self: Arc<Self>,
        id: SessionId,
        command: CommandId,
        running: Command,
        steps: Vec<Step>,
    ) {
        let mut offset = 0;
        let push = |event: CommandEvent| running.done.send_modify(|done| done.push(event));
        let mut output = |stream, bytes: Vec<u8>| {
            let event = CommandEvent::Output {
                stream,
                offset,
                bytes: bytes.into(),
            };
            if let CommandEvent::Output { bytes, .. } = &event {
                offset += bytes.len() as u64;
            }
            event
        };
        let mut end = ended(ExitCause::Exited, Some(0), None);
        for step in steps {
            let stepping = async {
                match &step {
                    Step::Sleep(time) => tokio::time::sleep(*time).await,
                    Step::Hang => std::future::pending().await,
                    Step::Echo => {
                        let mut stdin = running.stdin.subscribe();
                        stdin.wait_for(|(_, closed)| *closed).await.map(drop).unwrap();
                    }
                    _ => tokio::task::yield_now().await,
                }
            };
            tokio::select! {
                () = stepping => {}
                () = running.killed.cancelled() => {
                    end = ended(ExitCause::Cancelled, None, Some(9));
                    break;
                }
            }
            match step {
                Step::Out(stream, bytes) => push(output(stream, bytes)),
                Step::Echo => {
                    let bytes = running.stdin.borrow().0.clone();
                    push(output(session_core::command::OutputStream::Stdout, bytes));
                }
                Step::Exit(exit) => {
                    end = exit;
                    break;
                }
                Step::Break => {
                    push(CommandEvent::Gap {
                        from: u64::MAX,
                        to: u64::MAX,
                    });
                    return;
                }
                Step::Sleep(_) | Step::Hang => {}
            }
        }
        end.output_bytes = offset;
        let (code, signal, cause) = (end.code, end.signal, end.cause);
        push(CommandEvent::Exited(end));
        self.emit(
            &id,
            None,
            EventKind::CommandFinished {
                command,
                code,
                signal,
                cause,
            },
        );
    }

    pub(super) fn watch(&self, id: CommandId, command: Command, offset: u64) -> RunningCommand {
        let done = command.done.subscribe();
        let guard = (!command.detached).then(|| command.killed.clone().drop_guard());
        let events = stream::unfold(
            (done, 0, guard, false),
            move |(mut done, at, guard, over)| async move {
                if over {
                    return None;
                }
                let event = done.wait_for(|done| done.len() > at).await.ok()?[at].clone();
                let (item, over) = match event {
                    CommandEvent::Gap { from: u64::MAX, .. } => (
                        Err(Error::new(ErrorKind::LinkLost, "run a command", "the link broke")),
                        true,
                    ),
                    event @ CommandEvent::Exited(_) => (Ok(event), true),
                    event => (Ok(event), false),
                };
                Some((item, (done, at + 1, guard, over)))
            },
        );
        let events = events
            .filter(move |event| {
                let old = matches!(event, Ok(CommandEvent::Output { offset: at, .. }) if *at < offset);
                futures::future::ready(!old)
            })
            .boxed();
        RunningCommand {
            id,
            events,
            control: Box::new(Control(command)),
        }
    }
}

struct Control(Command);

#[async_trait]
impl CommandControl for Control {
    async fn write(&self, bytes: bytes::Bytes) -> Result<()> {
        self.0
            .stdin
            .send_modify(|(stdin, _)| stdin.extend_from_slice(&bytes));
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        self.0.stdin.send_modify(|(_, closed)| *closed = true);
        Ok(())
    }

    async fn signal(&self, _: i32) -> Result<()> {
        self.0.killed.cancel();
        Ok(())
    }
}
