//! Files in and out, by both command lines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::fixtures;
use xtask::error::{Context, Result};

use super::Lab;
use super::cases::Figures;
use super::commands::Program;
use super::lifecycle::{new_container, new_session};
use super::pairs::{Side, alternate};

const FILES: usize = 10_000;
const FILE_BYTES: usize = 1_000;
const BIG_BYTES: u64 = 1_000_000_000;
/// Where both sides have the files inside: what the session's user can write, in an image and in a session alike.
const INSIDE: &str = "/workspace";

/// What becomes of a copy that was measured.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// It stays until the end of the run, and the next one goes to another place: a file system that has just removed ten
    /// thousand files makes new ones ten times as slowly for minutes.
    Keep,
    /// It is removed: there is not room for all.
    Remove,
}

pub(super) async fn many_in(lab: &mut Lab) -> Result<Figures> {
    let files = many(lab)?;
    copy_in(lab, &files, 6, After::Keep).await
}

pub(super) async fn many_out(lab: &mut Lab) -> Result<Figures> {
    let files = many(lab)?;
    copy_out(lab, &files, 6, After::Keep).await
}

pub(super) async fn big_in(lab: &mut Lab) -> Result<Figures> {
    let file = big(lab)?;
    copy_in(lab, &file, 6, After::Remove).await
}

pub(super) async fn big_out(lab: &mut Lab) -> Result<Figures> {
    let file = big(lab)?;
    copy_out(lab, &file, 6, After::Remove).await
}

fn many(lab: &mut Lab) -> Result<PathBuf> {
    let made = fixtures::many_files(FILES, FILE_BYTES);
    Ok(lab.keep(made.context(|| "cannot make the files to be copied".to_owned())?))
}

fn big(lab: &mut Lab) -> Result<PathBuf> {
    let made = fixtures::big_file(BIG_BYTES);
    Ok(lab.keep(made.context(|| "cannot make the file to be copied".to_owned())?))
}

async fn copy_in(lab: &mut Lab, source: &Path, rounds: u32, after: After) -> Result<Figures> {
    let (session, container) = pair(lab).await?;
    let source = text(source);
    let to = |end: &str| {
        let (source, end) = (source.clone(), end.to_owned());
        move |copy: &str| vec!["cp".to_owned(), source.clone(), format!("{end}:{copy}")]
    };
    let inside = format!("{INSIDE}/copy");
    let mut ours = Copy {
        program: Program::ours(lab, &[]),
        args: to(&session),
        place: Place::new(
            &inside,
            after,
            Program::ours(lab, &["exec", &session, "rm", "-rf", &inside]),
        ),
    };
    let remove = Program::docker(lab, &["exec", "--user=0", &container, "rm", "-rf", &inside]);
    let mut baseline = Copy {
        program: Program::docker(lab, &[]),
        args: to(&container),
        place: Place::new(&inside, after, remove),
    };
    alternate(lab.rounds(rounds), &mut ours, &mut baseline).await
}

async fn copy_out(lab: &mut Lab, source: &Path, rounds: u32, after: After) -> Result<Figures> {
    let (session, container) = pair(lab).await?;
    let source = text(source);
    for (mut program, end) in [
        (Program::ours(lab, &[]), &session),
        (Program::docker(lab, &[]), &container),
    ] {
        program.args = vec!["cp".to_owned(), source.clone(), format!("{end}:{INSIDE}/copy")];
        program.once().await?;
    }
    let dir = tempfile::tempdir().context(|| "cannot make a temporary directory".to_owned())?;
    let dir = lab.keep(dir);
    let from = |end: String| {
        move |copy: &str| vec!["cp".to_owned(), format!("{end}:{INSIDE}/copy"), copy.to_owned()]
    };
    let place = |name: &str| {
        let path = text(&dir.join(name));
        Place::new(&path, after, Program::host("rm", &["-rf", &path]))
    };
    let mut ours = Copy {
        program: Program::ours(lab, &[]),
        args: from(session),
        place: place("ours"),
    };
    let mut baseline = Copy {
        program: Program::docker(lab, &[]),
        args: from(container),
        place: place("baseline"),
    };
    alternate(lab.rounds(rounds), &mut ours, &mut baseline).await
}

/// A session and a bare container, which end with the run.
async fn pair(lab: &mut Lab) -> Result<(String, String)> {
    let session = new_session(&lab.manager).await?.to_string();
    Ok((session, new_container(&mut lab.engine, "none").await?))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Where a copy goes.
struct Place {
    path: String,
    remove: Option<Program>,
    number: usize,
}

impl Place {
    fn new(path: &str, after: After, remove: Program) -> Self {
        Self {
            path: path.to_owned(),
            remove: (after == After::Remove).then_some(remove),
            number: 0,
        }
    }

    fn next(&mut self) -> String {
        self.number += 1;
        if self.remove.is_some() {
            self.path.clone()
        } else {
            format!("{}-{}", self.path, self.number)
        }
    }
}

/// One side's way of copying.
struct Copy<F> {
    program: Program,
    args: F,
    place: Place,
}

impl<F: Fn(&str) -> Vec<String>> Side for Copy<F> {
    async fn once(&mut self) -> Result<Duration> {
        self.program.args = (self.args)(&self.place.next());
        // Nobody pays for what the one before left to be written.
        let synced = tokio::task::spawn_blocking(rustix::fs::sync).await;
        synced.context(|| "cannot wait for the disk".to_owned())?;
        let taken = self.program.once().await?;
        if let Some(remove) = &mut self.place.remove {
            remove.once().await?;
        }
        Ok(taken)
    }
}
