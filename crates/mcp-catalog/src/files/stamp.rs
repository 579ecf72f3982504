//! Whether a file is still the one that was read.

use std::time::{Duration, SystemTime};

use rustix::fs::Stat;

/// File systems tell times in steps of a few milliseconds: what changed twice in one step looks unchanged. A file that
/// was changed so shortly before it was read is read again the next time.
const STEP: Duration = Duration::from_millis(50);

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    length: i64,
    modified: (i64, i64),
    changed: (i64, i64),
    mode: u32,
    owner: u32,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        #[expect(
            clippy::useless_conversion,
            reason = "the widths of these fields differ between architectures"
        )]
        Self {
            device: stat.st_dev.into(),
            inode: stat.st_ino.into(),
            length: stat.st_size.into(),
            modified: (stat.st_mtime.into(), nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime.into(), nanoseconds(stat.st_ctime_nsec)),
            mode: stat.st_mode,
            owner: stat.st_uid,
        }
    }

    /// The permission bits.
    pub(crate) fn permissions(&self) -> u32 {
        self.mode & 0o777
    }

    /// When the content was changed, in seconds and nanoseconds.
    pub(crate) fn modified(&self) -> (i64, i64) {
        self.modified
    }

    /// Whether an equal stamp later means equal content: the file has rested since before it was read.
    pub(crate) fn is_settled(&self, read_at: SystemTime) -> bool {
        let (seconds, nanos) = self.modified.max(self.changed);
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u64::try_from(nanos)) else {
            return true;
        };
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanos);
        read_at.duration_since(last).is_ok_and(|rest| rest > STEP)
    }
}

fn nanoseconds<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or_default()
}
