//! Terminals: who looks at them, and what they are shown.

use super::SessionManager;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{SessionId, TerminalId};
use crate::terminal::{AttachedTerminal, OpenTerminal, TerminalInfo, TerminalSize};

impl SessionManager {
    pub(super) async fn open_a_terminal(
        &self,
        session: &SessionId,
        _request: OpenTerminal,
    ) -> Result<TerminalInfo> {
        let operation = "open a terminal";
        self.record(session, operation).await?;
        Err(Error::new(
            ErrorKind::Unsupported,
            operation,
            "there are no terminals yet",
        ))
    }

    pub(super) async fn terminals_of(&self, session: &SessionId) -> Result<Vec<TerminalInfo>> {
        self.record(session, "list terminals").await?;
        Ok(Vec::new())
    }

    pub(super) async fn attach_to_terminal(
        &self,
        session: &SessionId,
        terminal: &TerminalId,
        _size: TerminalSize,
    ) -> Result<AttachedTerminal> {
        let operation = "attach to a terminal";
        self.record(session, operation).await?;
        Err(
            Error::new(ErrorKind::NotFound, operation, "there is no such terminal")
                .with_context("terminal", terminal),
        )
    }

    pub(super) async fn close_a_terminal(&self, session: &SessionId, _terminal: &TerminalId) -> Result<()> {
        self.record(session, "close a terminal").await.map(drop)
    }
}
