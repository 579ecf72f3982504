//! Somebody who looks at a terminal, and how one is opened.

use bytes::Bytes;
use futures::StreamExt;
use libtest_mimic::Failed;
use session_core::command::CommandExit;
use session_core::error::Error;
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{AttachedTerminal, OpenTerminal, TerminalEvent, TerminalProgram, TerminalSize};

use super::Stage;
use crate::conformance::Outcome;

/// What a viewer has seen so far.
pub(super) struct Viewer {
    pub(super) attached: AttachedTerminal,
    pub(super) seen: Vec<u8>,
    pub(super) skipped: usize,
    pub(super) sizes: Vec<TerminalSize>,
    pub(super) exit: Option<CommandExit>,
}

impl Viewer {
    pub(super) async fn of(
        stage: &Stage,
        session: &SessionId,
        terminal: &TerminalId,
        size: TerminalSize,
    ) -> Result<Self, Failed> {
        Ok(Self {
            attached: stage.api.attach_terminal(session, terminal, size).await?,
            seen: Vec::new(),
            skipped: 0,
            sizes: Vec::new(),
            exit: None,
        })
    }

    /// Takes what comes next; an error is the end of a terminal that went away.
    pub(super) async fn take(&mut self) -> Result<bool, Error> {
        match self.attached.events.next().await.transpose()? {
            Some(TerminalEvent::Output(bytes)) => self.seen.extend_from_slice(&bytes),
            Some(TerminalEvent::Skipped) => {
                self.skipped += 1;
                self.seen.clear();
            }
            Some(TerminalEvent::Resized(size)) => self.sizes.push(size),
            Some(TerminalEvent::Exited(exit)) => self.exit = Some(exit),
            None => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn has_seen(&self, wanted: &[u8]) -> bool {
        self.seen.windows(wanted.len()).any(|window| window == wanted)
    }

    pub(super) async fn until(&mut self, wanted: &str) -> Outcome {
        while !self.has_seen(wanted.as_bytes()) {
            if !self.take().await? {
                let seen = String::from_utf8_lossy(&self.seen);
                return Err(format!("{wanted:?} was never seen: {seen:?}").into());
            }
        }
        Ok(())
    }

    pub(super) async fn type_in(&self, text: impl Into<Bytes>) -> Outcome {
        Ok(self.attached.control.write(text.into()).await?)
    }

    /// The end, however it is told.
    pub(super) async fn end(&mut self) -> Result<Option<CommandExit>, Error> {
        while self.take().await? {}
        Ok(self.exit.clone())
    }
}

pub(super) fn size(rows: u16, columns: u16) -> TerminalSize {
    TerminalSize { rows, columns }
}

pub(super) fn program(argv: &[&str]) -> OpenTerminal {
    OpenTerminal {
        program: TerminalProgram::Command {
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        },
        ..OpenTerminal::default()
    }
}

pub(super) async fn open(stage: &Stage, session: &SessionId, script: &str) -> Result<TerminalId, Failed> {
    let info = stage
        .api
        .open_terminal(session, program(&["sh", "-c", script]))
        .await?;
    Ok(info.id)
}

pub(super) async fn look(
    stage: &Stage,
    session: &SessionId,
    terminal: &TerminalId,
) -> Result<Viewer, Failed> {
    Viewer::of(stage, session, terminal, TerminalSize::default()).await
}

pub(super) async fn count(stage: &Stage, session: &SessionId) -> Result<usize, Failed> {
    Ok(stage.api.terminals(session).await?.len())
}
