//! Files in and out, by both command lines.

use std::path::Path;
use std::time::{Duration, Instant};

use session_core::api::SessionApiExt;
use session_core::command::CommandRequest;
use session_core::id::SessionId;
use tempfile::TempDir;
use testkit::fixtures;
use xtask::error::{Context, Result};

use super::Lab;
use super::cases::Figures;
use super::commands::Program;
use super::lifecycle::{end_session, new_container, new_session};
use super::pairs::{Side, alternate};

const FILES: usize = 10_000;
const FILE_BYTES: usize = 1_000;
const BIG_BYTES: u64 = 1_000_000_000;
/// Where both sides have the files inside: what the session's user can write, in an image and in a session alike.
const INSIDE: &str = "/workspace";

pub(super) async fn many_in(lab: &mut Lab) -> Result<Figures> {
    let files = many()?;
    copy_in(lab, files.path(), 6).await
}

pub(super) async fn many_out(lab: &mut Lab) -> Result<Figures> {
    let files = many()?;
    copy_out(lab, files.path(), 6).await
}

pub(super) async fn big_in(lab: &mut Lab) -> Result<Figures> {
    let file = big()?;
    copy_in(lab, file.path(), 4).await
}

pub(super) async fn big_out(lab: &mut Lab) -> Result<Figures> {
    let file = big()?;
    copy_out(lab, file.path(), 4).await
}

fn many() -> Result<TempDir> {
    fixtures::many_files(FILES, FILE_BYTES).context(|| "cannot make the files to be copied".to_owned())
}

fn big() -> Result<TempDir> {
    fixtures::big_file(BIG_BYTES).context(|| "cannot make the file to be copied".to_owned())
}

async fn copy_in(lab: &mut Lab, source: &Path, rounds: u32) -> Result<Figures> {
    let pair = Pair::new(lab).await?;
    let source = source.to_string_lossy();
    let mut ours = Cleaning {
        program: Program::ours(lab, &["cp", &source, &format!("{}:{INSIDE}/copy", pair.session)]),
        clean: Clean::Session(lab, pair.session),
    };
    let mut baseline = Cleaning {
        program: Program::docker(
            lab,
            &["cp", &source, &format!("{}:{INSIDE}/copy", pair.container)],
        ),
        clean: Clean::Container(Program::docker(
            lab,
            &[
                "exec",
                "--user=0",
                &pair.container,
                "rm",
                "-rf",
                &format!("{INSIDE}/copy"),
            ],
        )),
    };
    let figures = alternate(lab.rounds(rounds), &mut ours, &mut baseline).await;
    pair.end(lab).await?;
    figures
}

async fn copy_out(lab: &mut Lab, source: &Path, rounds: u32) -> Result<Figures> {
    let pair = Pair::new(lab).await?;
    let source = source.to_string_lossy();
    Program::ours(lab, &["cp", &source, &format!("{}:{INSIDE}/copy", pair.session)])
        .once()
        .await?;
    Program::docker(
        lab,
        &["cp", &source, &format!("{}:{INSIDE}/copy", pair.container)],
    )
    .once()
    .await?;
    let dir = tempfile::tempdir().context(|| "cannot make a temporary directory".to_owned())?;
    let (here, there) = (dir.path().join("ours"), dir.path().join("theirs"));
    let mut ours = Cleaning {
        program: Program::ours(
            lab,
            &[
                "cp",
                &format!("{}:{INSIDE}/copy", pair.session),
                &here.to_string_lossy(),
            ],
        ),
        clean: Clean::Host(here.clone()),
    };
    let mut baseline = Cleaning {
        program: Program::docker(
            lab,
            &[
                "cp",
                &format!("{}:{INSIDE}/copy", pair.container),
                &there.to_string_lossy(),
            ],
        ),
        clean: Clean::Host(there.clone()),
    };
    let figures = alternate(lab.rounds(rounds), &mut ours, &mut baseline).await;
    pair.end(lab).await?;
    figures
}

/// A session and a bare container.
struct Pair {
    session: SessionId,
    container: String,
}

impl Pair {
    async fn new(lab: &mut Lab) -> Result<Self> {
        Ok(Self {
            session: new_session(&lab.manager).await?,
            container: new_container(&mut lab.engine, "none").await?,
        })
    }

    async fn end(self, lab: &mut Lab) -> Result<()> {
        end_session(&lab.manager, &self.session).await?;
        lab.engine.remove(&self.container).await
    }
}

/// A copy whose result is removed again, outside of the measured time.
struct Cleaning<'a> {
    program: Program,
    clean: Clean<'a>,
}

enum Clean<'a> {
    Session(&'a Lab, SessionId),
    Container(Program),
    Host(std::path::PathBuf),
}

impl Side for Cleaning<'_> {
    async fn once(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.program.once().await?;
        let taken = started.elapsed();
        match &mut self.clean {
            Clean::Session(lab, session) => {
                let remove = CommandRequest::new(["rm", "-rf", &format!("{INSIDE}/copy")]);
                let removed = lab.manager.command_output(session, remove, 4096).await;
                removed.context(|| "cannot remove the copy".to_owned())?;
            }
            Clean::Container(remove) => drop(remove.once().await?),
            Clean::Host(path) => {
                std::fs::remove_dir_all(path).context(|| "cannot remove the copy".to_owned())?;
            }
        }
        Ok(taken)
    }
}
