//! A log in a file that does not grow without end: when it is long enough, what is in it moves to a second file, whose
//! content is forgotten.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use session_core::error::{Error, ErrorKind, Result};

/// How long the file may become, in bytes. With the second file it is twice as much.
const MAX_BYTES: u64 = 8 << 20;

/// See the module. Clones write to the same file.
#[derive(Debug, Clone)]
pub struct BoundedFile(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    length: u64,
    most: u64,
}

impl BoundedFile {
    /// Goes on with the file, or begins it: for its owner alone, never through a symlink.
    ///
    /// # Errors
    /// `HostIo`.
    pub fn open(path: &Path) -> Result<Self> {
        Self::bounded(path, MAX_BYTES).map_err(|source| {
            Error::new(ErrorKind::HostIo, "keep the log", "its file cannot be written")
                .with_context("path", path.display())
                .with_context("cause", &source)
                .with_source(source)
        })
    }

    fn bounded(path: &Path, most: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        let length = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Inner {
            path: path.to_owned(),
            file,
            length,
            most,
        }))))
    }
}

impl Inner {
    /// The file stays the same one, because the process's standard error may lead there, too.
    fn turn(&mut self) -> io::Result<()> {
        let second = self.path.with_extension("log.1");
        // Not through what somebody put there.
        match std::fs::remove_file(&second) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::copy(&self.path, &second)?;
        self.file.set_len(0)?;
        self.length = 0;
        Ok(())
    }
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.length > 0 && inner.length + bytes.len() as u64 > inner.most {
            inner.turn()?;
        }
        inner.file.write_all(bytes)?;
        inner.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_newest_and_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.log");
        std::fs::write(&path, "of another process\n").unwrap();
        let mut file = BoundedFile::bounded(&path, 100).unwrap();
        for number in 0..50 {
            writeln!(file, "line {number:02}").unwrap();
        }
        let (first, second) = (
            std::fs::read_to_string(&path).unwrap(),
            std::fs::read_to_string(dir.path().join("serve.log.1")).unwrap(),
        );
        assert!(first.len() <= 100 && second.len() <= 100);
        let lines: Vec<_> = second.lines().chain(first.lines()).collect();
        assert_eq!(lines.last(), Some(&"line 49"));
        assert!(lines.len() >= 12 && lines.is_sorted());
    }

    #[test]
    fn it_follows_no_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.log");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert_eq!(BoundedFile::open(&path).unwrap_err().kind(), ErrorKind::HostIo);
    }
}
