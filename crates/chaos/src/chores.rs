//! What clients do besides their work: files in and out, terminals, interruptions, and creations that must fail.

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use session_core::api::{ArchiveStream, SessionApi as _};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::{CreateSession, WorkspaceSource};
use session_core::terminal::OpenTerminal;
use tokio::time::sleep;

use crate::client::{Client, Shared, broken_off, labels};
use crate::model::Told;
use crate::points::Favour;

/// How much a file holds that goes in and out.
const FILE_BYTES: usize = 96 << 10;
/// In how many pieces its archive goes in.
const PIECE: usize = 16 << 10;
/// Before a turn is interrupted.
const BEGINNING: Duration = Duration::from_millis(5);
/// What is cloned by a session that cannot be made: the in-memory engine's image has no git.
const NOWHERE: &str = "https://git.invalid/nothing.git";

impl Client {
    /// One of the things that people do besides.
    pub(crate) async fn chore(&mut self, name: &str, session: &SessionId, told: &mut Told) -> Result<()> {
        let chance = match self.dice.below(4) {
            0 => Favour::Files,
            1 => Favour::Terminals,
            _ => Favour::Interruptions,
        };
        let favoured = [Favour::Files, Favour::Terminals]
            .into_iter()
            .find(|chore| self.shared.favours(*chore));
        let done = match favoured.unwrap_or(chance) {
            Favour::Files => self.shared.files(session, name).await,
            Favour::Terminals => self.shared.terminal(session, name).await,
            _ => self.shared.interruption(session, told).await,
        };
        // It may be gone with its container.
        if self.shared.weather.shakes() {
            Ok(())
        } else {
            done
        }
    }
}

impl Shared {
    /// What went in comes out, whole.
    async fn files(&self, session: &SessionId, name: &str) -> Result<()> {
        let file = format!("kept-{name}");
        let content: Vec<u8> = name.bytes().cycle().take(FILE_BYTES).collect();
        let archive = archive(&file, &content).map_err(unreadable)?;
        self.insist("copy in", || self.api.copy_in(session, ".", stream(&archive)))
            .await?;
        let back = self.insist("copy out", || self.read_out(session, &file)).await?;
        if back != content {
            self.trouble.tell(format!(
                "{file} of session {session} came back with {} bytes that are not its own",
                back.len()
            ));
        }
        Ok(())
    }

    async fn read_out(&self, session: &SessionId, file: &str) -> Result<Vec<u8>> {
        let pieces: Vec<Bytes> = self.api.copy_out(session, file).await?.try_collect().await?;
        let whole = pieces.concat();
        let mut content = Vec::new();
        for entry in tar::Archive::new(whole.as_slice())
            .entries()
            .map_err(unreadable)?
        {
            entry
                .and_then(|mut entry| entry.read_to_end(&mut content))
                .map_err(unreadable)?;
        }
        Ok(content)
    }

    /// Opens one, however often it is asked for, and closes it.
    async fn terminal(&self, session: &SessionId, name: &str) -> Result<()> {
        let request = OpenTerminal {
            idempotency_key: Some(format!("terminal-{name}")),
            ..OpenTerminal::default()
        };
        self.insist("open a terminal", || {
            self.api.open_terminal(session, request.clone())
        })
        .await?;
        let open = self
            .insist("list terminals", || self.api.terminals(session))
            .await?;
        if open.len() > 1 {
            self.trouble.tell(format!(
                "session {session} has {} terminals of one key",
                open.len()
            ));
        }
        for terminal in open {
            self.insist("close a terminal", || {
                self.api.close_terminal(session, &terminal.id)
            })
            .await?;
        }
        Ok(())
    }

    /// Interrupts what was asked for last, which may have ended.
    async fn interruption(&self, session: &SessionId, told: &mut Told) -> Result<()> {
        let Some(prompt) = told.prompts.last_mut() else {
            return Ok(());
        };
        prompt.interrupted = true;
        // Some have begun by then.
        sleep(BEGINNING).await;
        let turn = prompt.first.id;
        self.insist("interrupt a turn", || self.api.interrupt_turn(session, &turn))
            .await
            .map(drop)
    }

    /// A session that cannot be made says so, and stays so.
    pub(crate) async fn impossible(&self, key: &str) -> Result<()> {
        let request = CreateSession {
            idempotency_key: Some(key.to_owned()),
            labels: labels(key),
            workspace: WorkspaceSource::Clone {
                url: NOWHERE.to_owned(),
                reference: None,
            },
            ..CreateSession::default()
        };
        let made = self
            .insist("create what cannot be", || self.api.create(request.clone()))
            .await;
        match made {
            Err(error) if broken_off(&error) || error.kind() != ErrorKind::Internal => Ok(()),
            Err(error) => Err(error),
            Ok(info) => {
                self.trouble
                    .tell(format!("session {} was made of nothing", info.id));
                Ok(())
            }
        }
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "read an archive", error.to_string())
}

fn archive(name: &str, content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content)?;
    archive.into_inner()
}

fn stream(archive: &[u8]) -> ArchiveStream {
    let pieces: Vec<_> = archive
        .chunks(PIECE)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    futures::stream::iter(pieces).boxed()
}
