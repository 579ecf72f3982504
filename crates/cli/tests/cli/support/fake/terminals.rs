//! Terminals in which a program echoes what is typed, tells how large it is, and ends when it is told to.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use session_core::command::{CommandExit, ExitCause};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{
    AttachedTerminal, OpenTerminal, TerminalControl, TerminalEvent, TerminalInfo, TerminalSize,
};
use tokio::sync::watch;

use crate::support::fixtures;

/// All that are open.
#[derive(Default)]
pub(crate) struct Terminals {
    all: Mutex<Vec<Arc<Terminal>>>,
}

struct Terminal {
    info: TerminalInfo,
    /// Everything that was seen, from the first viewer's first byte on.
    events: Mutex<Vec<TerminalEvent>>,
    seen: watch::Sender<usize>,
    typed: Mutex<Vec<u8>>,
}

impl Terminals {
    pub(crate) fn open(&self, session: &SessionId, request: OpenTerminal) -> TerminalInfo {
        let info = TerminalInfo {
            id: TerminalId::new(),
            session: *session,
            program: request.program,
            size: request.size,
            viewers: 0,
            opened_at: fixtures::start(),
        };
        self.all.lock().unwrap().push(Arc::new(Terminal {
            info: info.clone(),
            events: Mutex::default(),
            seen: watch::Sender::new(0),
            typed: Mutex::default(),
        }));
        info
    }

    pub(crate) fn list(&self) -> Vec<TerminalInfo> {
        self.all
            .lock()
            .unwrap()
            .iter()
            .map(|terminal| terminal.info.clone())
            .collect()
    }

    pub(crate) fn close(&self, terminal: &TerminalId) {
        self.all.lock().unwrap().retain(|open| open.info.id != *terminal);
    }

    pub(crate) fn attach(&self, terminal: &TerminalId) -> Result<AttachedTerminal> {
        let all = self.all.lock().unwrap();
        let found = all.iter().find(|open| open.info.id == *terminal);
        let found = found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "attach to the terminal",
                "there is no such terminal",
            )
        })?;
        let (terminal, seen) = (found.clone(), found.seen.subscribe());
        let events = stream::unfold((terminal, seen, 0), |(terminal, mut seen, next)| async move {
            seen.wait_for(|length| *length > next).await.ok()?;
            let event = terminal.events.lock().unwrap()[next].clone();
            Some((Ok(event), (terminal, seen, next + 1)))
        });
        Ok(AttachedTerminal {
            info: found.info.clone(),
            events: events.boxed(),
            control: Box::new(Keys(found.clone())),
        })
    }
}

impl Terminal {
    fn see(&self, event: TerminalEvent) {
        let mut events = self.events.lock().unwrap();
        events.push(event);
        self.seen.send_replace(events.len());
    }
}

struct Keys(Arc<Terminal>);

#[async_trait]
impl TerminalControl for Keys {
    async fn write(&self, bytes: Bytes) -> Result<()> {
        let mut typed = self.0.typed.lock().unwrap();
        typed.extend_from_slice(&bytes);
        self.0.see(TerminalEvent::Output(bytes));
        let text = String::from_utf8_lossy(&typed).into_owned();
        let code = text
            .split_once("exit ")
            .and_then(|(_, rest)| rest.split_once('\r')?.0.parse().ok());
        if let Some(code) = code {
            self.0.see(TerminalEvent::Exited(CommandExit {
                cause: ExitCause::Exited,
                code: Some(code),
                signal: None,
                duration_ms: 1,
                output_bytes: 0,
            }));
        }
        Ok(())
    }

    async fn resize(&self, size: TerminalSize) -> Result<()> {
        let text = format!("[{} columns, {} rows]", size.columns, size.rows);
        self.0.see(TerminalEvent::Output(text.into()));
        Ok(())
    }
}
