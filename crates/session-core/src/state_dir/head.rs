//! The file beside the store that says where the audit log ended last.

use std::fs::File;

use rustix::fs::{Mode, OFlags};

use super::{StateDir, files, io_error};
use crate::error::Result;

impl StateDir {
    pub(super) const AUDIT_HEAD: &'static str = "audit.head";

    /// Opens it for reading and writing. When there is none, makes it with the content `first`, or answers `None` without
    /// one.
    pub(crate) fn audit_head(&self, first: Option<&[u8]>) -> Result<Option<File>> {
        const OPERATION: &str = "open the audit log";
        let path = self.path().join(Self::AUDIT_HEAD);
        let dir = &self.inner.dir;
        if !self.has_file(OPERATION, dir, Self::AUDIT_HEAD, &path)? {
            let Some(first) = first else {
                return Ok(None);
            };
            files::create_once(dir, Self::AUDIT_HEAD, first)
                .map_err(|source| io_error(OPERATION, &path, source))?;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, Self::AUDIT_HEAD, flags, Mode::empty())
            .map_err(|errno| io_error(OPERATION, &path, errno.into()))?;
        Ok(Some(File::from(file)))
    }
}
