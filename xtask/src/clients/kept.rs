//! What is installed once and kept: made whole under a lock, again when what it is made from changes, and never taken for whole
//! when making it broke off.

use std::fs::File;
use std::path::Path;

use sha2::{Digest, Sha256};

use xtask::error::{Context, Result};
use xtask::reporter::{Reporter, Step};

/// Makes sure that `dir` holds what `install` makes of `sources`; `is_whole` looks whether it is still there.
pub(super) fn ensure(
    dir: &Path,
    title: &str,
    sources: &[&str],
    is_whole: impl Fn() -> bool,
    install: impl FnOnce(&mut Step) -> Result<()>,
    reporter: &Reporter,
) -> Result<()> {
    let _lock = lock(dir, reporter)?;
    let mut step = reporter.step(title);
    let stamp = dir.join("installed");
    let digest = digest(sources);
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == digest) && is_whole() {
        step.done("up to date");
        return Ok(());
    }
    // Gone first: what breaks off is not taken for whole the next time.
    let _absent = std::fs::remove_file(&stamp);
    install(&mut step)?;
    write(&stamp, &digest)?;
    step.done("installed");
    Ok(())
}

fn digest(sources: &[&str]) -> String {
    let hasher = sources.iter().fold(Sha256::new(), Sha256::chain_update);
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file that an installation is made from.
pub(super) fn write(path: &Path, content: &str) -> Result<()> {
    std::fs::write(path, content).context(|| format!("cannot write {}", path.display()))
}

fn lock(dir: &Path, reporter: &Reporter) -> Result<File> {
    let path = dir.join("lock");
    let cannot = || format!("cannot lock {}", path.display());
    let file = File::create(&path).context(cannot)?;
    if file.try_lock().is_err() {
        reporter.notice("waiting for another task that installs the same");
        file.lock().context(cannot)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use xtask::error::Error;

    use super::*;

    #[test]
    fn it_is_made_once_and_again_when_it_broke_off_or_its_sources_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let reporter = Reporter::new();
        let made = Cell::new(0);
        let make = |source: &str, outcome: Result<()>| {
            let install = |_: &mut Step| {
                made.set(made.get() + 1);
                outcome
            };
            ensure(dir.path(), "it", &[source], || true, install, &reporter)
        };
        make("a", Ok(())).expect("made");
        make("a", Ok(())).expect("kept");
        assert_eq!(made.get(), 1);
        make("b", Err(Error::new("broke off"))).expect_err("it broke off");
        make("a", Ok(())).expect("made again");
        assert_eq!(made.get(), 3);
    }
}
