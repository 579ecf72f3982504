//! Work that is kept: a checkpoint after a small edit in a large repository.

use std::time::{Duration, Instant};

use session_core::api::{SessionApi, SessionApiExt as _};
use session_core::command::CommandRequest;
use session_core::id::SessionId;
use session_core::session::{CreateSession, WorkspaceSource};
use testkit::fixtures::Repository;
use xtask::error::{Context, Error, Result};

use super::super::Lab;
use super::super::cases::Figures;
use super::super::pairs::{Side, repeat};
use super::super::served::Served;

const FILES: usize = 10_000;
const FILES_OF_A_DIRECTORY: usize = 100;
/// Lines of each: about half a kilobyte.
const LINES: usize = 20;
const ROUNDS: u32 = 30;

/// From the call to its answer, through the daemon: then the patch is on disk and in the store.
pub(in super::super) async fn checkpoint(lab: &mut Lab) -> Result<Figures> {
    let repository = tokio::task::spawn_blocking(repository).await;
    let repository = repository.context(|| "the repository was not made".to_owned())??;
    let served = Served::start(lab).await?;
    let measured = async {
        let request = CreateSession {
            workspace: WorkspaceSource::Copy {
                path: repository.path().to_owned(),
            },
            ..CreateSession::default()
        };
        let created = served.daemon.sessions().create(request).await;
        let mut ours = Edited {
            session: created
                .context(|| "cannot make a session with the repository".to_owned())?
                .id,
            served: &served,
            edits: 0,
        };
        repeat(lab.rounds(ROUNDS), &mut ours).await
    };
    let measured = measured.await;
    served.stop().await?;
    measured
}

fn repository() -> Result<Repository> {
    let files: Vec<(String, String)> = (0..FILES).map(|number| (path(number), source(number))).collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    Repository::new(&files).context(|| "cannot make the repository".to_owned())
}

fn path(number: usize) -> String {
    format!("src/m{}/f{number}.rs", number / FILES_OF_A_DIRECTORY)
}

fn source(number: usize) -> String {
    format!("fn f{number}() {{ g{number}(); }}\n").repeat(LINES)
}

struct Edited<'a> {
    served: &'a Served,
    session: SessionId,
    edits: usize,
}

impl Edited<'_> {
    /// A line more in one file, another one each time.
    async fn edit(&mut self) -> Result<()> {
        let number = self.edits * 37 % FILES;
        self.edits += 1;
        let edit = format!("echo '// {}' >>{}", self.edits, path(number));
        let request = CommandRequest::new(["sh", "-c", &edit]);
        let api = self.served.daemon.sessions();
        let ran = api.command_output(&self.session, request, 0).await;
        match ran.context(|| "cannot edit a file".to_owned())?.exit.code {
            Some(0) => Ok(()),
            code => Err(Error::new(format!("the edit ended with {code:?}"))),
        }
    }
}

impl Side for Edited<'_> {
    async fn once(&mut self) -> Result<Duration> {
        self.edit().await?;
        let started = Instant::now();
        let kept = self.served.daemon.sessions().checkpoint(&self.session).await;
        let taken = started.elapsed();
        let kept = kept.context(|| "cannot take a checkpoint".to_owned())?;
        let files = kept.map_or(0, |checkpoint| checkpoint.files);
        if files == self.edits as u64 {
            return Ok(taken);
        }
        Err(Error::new(format!(
            "{} files were edited, the checkpoint has {files}",
            self.edits
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_edit_is_of_another_file() {
        let edited: BTreeSet<usize> = (0..FILES).map(|edit| edit * 37 % FILES).collect();
        assert_eq!(edited.len(), FILES);
    }
}
