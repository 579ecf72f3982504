//! Tests of the store that ask more of a machine than others: a file system of their own, or system calls that fail.
//!
//! They are ignored by `cargo test`, which runs without root and without strace. What cannot run here either is said, and is
//! no failure: a container often may neither mount nor trace.

use rustix::process::geteuid;
use xtask::error::Result;
use xtask::process::{Tool, available};
use xtask::workspace;

use super::Run;
use super::steps::{EVERYTHING, KEEP_GOING, cargo, counted};
use crate::apt;

/// What a disk that is full, one that fails, and the clock are asked, by the names of their modules.
const FULL: &str = "store::tests::full_disk::";
const BAD: &str = "store::tests::bad_disk::";
const SPEED: &str = "store::tests::speed::";
/// Processes that these tests start themselves.
const CHILDREN: &str = "::child_";

pub(super) fn check(run: &mut Run<'_>) -> Result<()> {
    let mut chosen = vec![SPEED];
    match full_disk_cannot() {
        None => chosen.push(FULL),
        Some(why) => left_out(run, "the store on a disk that is full", why),
    }
    match bad_disk_cannot(run)? {
        None => chosen.push(BAD),
        Some(why) => left_out(run, "the store on a disk that fails", why),
    }
    // One after the other: what is measured is measured alone.
    let alone = ["--ignored", "--test-threads=1", "--skip", CHILDREN];
    let tool = cargo(&["test", KEEP_GOING])
        .args(EVERYTHING)
        .args(["--lib", "--"])
        .args(alone)
        .args(chosen);
    counted(run, "the store on bad disks, and its speed", tool)
}

fn left_out(run: &Run<'_>, what: &str, why: &str) {
    run.reporter.notice(&format!("left out: {what}: {why}"));
}

/// Why no small file system can be mounted; `None` when one can.
fn full_disk_cannot() -> Option<&'static str> {
    if !geteuid().is_root() {
        return Some("only root may mount a small file system");
    }
    let Ok(place) = workspace::state("small-disk") else {
        return Some("there is no place for a small file system");
    };
    let mounted = Tool::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4096", "tmpfs"])
        .arg(&place)
        .output();
    if mounted.is_err() {
        return Some("this machine lets nobody mount a small file system");
    }
    let gone = Tool::new("umount").arg("--lazy").arg(&place).output();
    gone.is_err()
        .then_some("what was mounted cannot be unmounted here")
}

/// Why no system call can be made to fail; `None` when it can. Installs strace where that may be done.
fn bad_disk_cannot(run: &Run<'_>) -> Result<Option<&'static str>> {
    if !available("strace") {
        if !geteuid().is_root() || !apt::debian_like() {
            return Ok(Some("strace is not installed"));
        }
        apt::install(&["strace"], run.reporter)?;
    }
    let traced = Tool::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .output();
    Ok(traced
        .is_err()
        .then_some("this machine lets nobody trace a process"))
}
