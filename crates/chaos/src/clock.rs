//! A clock of the day that jumps under the daemons of a world: libfaketime, which answers in the place of the C library. The
//! clock that only counts stays as it is, as when somebody sets the time of a machine.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dice::Dice;

/// No jump is longer than a good year, forth or back.
const FARTHEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// See the module.
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    /// What time it is: so many seconds from the real one.
    file: PathBuf,
}

impl Clock {
    /// One that is right so far.
    ///
    /// # Errors
    /// When its file cannot be written, or `library` is not there: the daemons would have the right time.
    pub(crate) fn new(library: &Path, dir: &Path) -> io::Result<Self> {
        let clock = Self {
            library: library.canonicalize()?,
            file: dir.join("clock"),
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// What a daemon is started with. The times of files stay what they are.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("LD_PRELOAD".into(), self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE".into(), self.file.clone().into()),
            ("FAKETIME_NO_CACHE".into(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
            ("NO_FAKE_STAT".into(), "1".into()),
        ]
    }

    /// Jumps somewhere; now and then to the right time.
    pub(crate) fn jump(&self, dice: &mut Dice) -> io::Result<()> {
        if dice.once_in(4) {
            return self.set(0);
        }
        let distance = i64::try_from(dice.below(FARTHEST.as_secs())).unwrap_or(i64::MAX);
        self.set(if dice.once_in(2) { -distance } else { distance })
    }

    /// At once, for a daemon may read at any moment.
    fn set(&self, seconds: i64) -> io::Result<()> {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}"))?;
        std::fs::rename(next, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_jumps_both_ways_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::new(dir.path(), dir.path()).unwrap();
        let mut dice = Dice::new(1);
        let mut seen = [0_u32; 3];
        for _ in 0..100 {
            clock.jump(&mut dice).unwrap();
            let text = std::fs::read_to_string(dir.path().join("clock")).unwrap();
            let seconds: i64 = text.parse().unwrap();
            assert!(seconds.unsigned_abs() < FARTHEST.as_secs());
            seen[usize::try_from(seconds.signum() + 1).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&times| times > 5), "{seen:?}");
    }

    #[test]
    fn without_the_library_nothing_is_pretended() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Clock::new(Path::new("/nowhere/libfaketime.so.1"), dir.path()).is_err());
    }
}
