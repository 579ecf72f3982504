//! A file system so small that it can be filled at will.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Room for a store of some hundred sessions, and filled in milliseconds.
const OPTIONS: &std::ffi::CStr = c"size=48m,mode=0700";

/// Mounted for as long as it lives.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `path`.
    ///
    /// # Errors
    /// When this process may not: only root can.
    pub(crate) fn mount(path: &Path) -> io::Result<Self> {
        std::fs::create_dir(path)?;
        mount(
            "cofferdam-chaos",
            path,
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            OPTIONS,
        )?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still has a file open there keeps it until it lets go.
        let _detached = unmount(&self.0, UnmountFlags::DETACH);
    }
}
