//! Which directories of the host a session may see.
//!
//! A directory is opened once and judged by its handle: where it really is, which inode it is, who owns it. Paths that
//! give a session the host, its secrets or ourselves are refused, and so is every directory that contains one of them,
//! however it is spelled and through whichever symlink or bind mount it is reached.

mod protected;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FsWord, Mode, OFlags, StatVfsMountFlags, fstat, fstatfs, fstatvfs, open};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::UserIds;

const OPERATION: &str = "use a directory of this host";

/// What is particular to this host.
#[derive(Debug, Clone, Default)]
pub struct HostPaths {
    /// The operator's home directory.
    pub home: Option<PathBuf>,
    /// Our own state directory.
    pub state_dir: PathBuf,
    /// The sockets of engines.
    pub engine_sockets: Vec<PathBuf>,
}

/// Device and inode.
type Identity = (u64, u64);

/// A directory (or, as the source of a further mount, a file) that may be shown to a session.
#[derive(Debug)]
pub struct JudgedDir {
    path: PathBuf,
    identity: Identity,
    owner: UserIds,
    mode: u32,
    handle: OwnedFd,
}

impl JudgedDir {
    /// The absolute path without symlinks, as it was when it was judged.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Its owner and group, which may be root.
    pub fn owner(&self) -> UserIds {
        self.owner
    }

    /// Its permission bits.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// The open handle (`O_PATH`): work beneath it instead of naming the path again.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Whether the path still leads to what was judged. An engine takes a path and opens it by itself, so ask right
    /// before the path is handed over and again when the container is up.
    ///
    /// # Errors
    /// `WorkspaceRefused` when something else is there now, or nothing.
    pub fn verify_unmoved(&self) -> Result<()> {
        let now = open(
            &self.path,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .and_then(|handle| Ok((identity_of(&handle)?, path_of(&handle)?)));
        match now {
            Ok((identity, path)) if identity == self.identity && path == self.path => Ok(()),
            _ => Err(refused(
                &self.path,
                "the path was replaced while it was in use",
                ErrorKind::WorkspaceRefused,
            )
            .with_hint("somebody moves or relinks this directory; try again once it rests")),
        }
    }
}

/// Judges a directory that a session would work in.
///
/// # Errors
/// `InvalidArgument` for what is no absolute path of a directory, `WorkspaceMissing`, `WorkspaceRefused`.
pub fn judge(path: &Path, host: &HostPaths) -> Result<JudgedDir> {
    let judged = judge_any(path, host)?;
    if FileType::from_raw_mode(judged.mode) == FileType::Directory {
        Ok(judged)
    } else {
        Err(
            refused(path, "this is not a directory", ErrorKind::InvalidArgument)
                .with_hint("name the directory that contains the file"),
        )
    }
}

/// Judges the source of a further mount: a directory or a regular file.
///
/// # Errors
/// As [`judge`].
pub fn judge_mount_source(path: &Path, host: &HostPaths) -> Result<JudgedDir> {
    let judged = judge_any(path, host)?;
    match FileType::from_raw_mode(judged.mode) {
        FileType::Directory | FileType::RegularFile => Ok(judged),
        _ => Err(refused(
            path,
            "sockets, pipes and devices are never handed to a session",
            ErrorKind::WorkspaceRefused,
        )
        .with_hint("mount a directory or a regular file")),
    }
}

/// [`judge`] for a directory that was judged before, by the path that it was found to have. That path leads through no symlink,
/// so one that stands in it now was put there since, and is not followed.
///
/// # Errors
/// As [`judge`], and `WorkspaceRefused` when the path leads elsewhere.
pub(crate) fn judge_again(path: &Path, host: &HostPaths) -> Result<JudgedDir> {
    judge(path, host).and_then(|judged| still_there(path, judged))
}

/// The same for [`judge_mount_source`].
pub(crate) fn judge_mount_source_again(path: &Path, host: &HostPaths) -> Result<JudgedDir> {
    judge_mount_source(path, host).and_then(|judged| still_there(path, judged))
}

fn still_there(path: &Path, judged: JudgedDir) -> Result<JudgedDir> {
    if judged.path == path {
        return Ok(judged);
    }
    let message = "a symlink leads elsewhere from where the session was given";
    Err(refused(path, message, ErrorKind::WorkspaceRefused)
        .with_context("leads to", judged.path.display().to_string().escape_debug())
        .with_hint("put the directory back in its place, or make a new session for where it is now"))
}

fn judge_any(path: &Path, host: &HostPaths) -> Result<JudgedDir> {
    if !path.is_absolute() || path.as_os_str().as_bytes().contains(&0) {
        return Err(
            refused(path, "this is not an absolute path", ErrorKind::InvalidArgument)
                .with_hint("write the whole path, from / on"),
        );
    }
    let handle =
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| unopened(path, errno))?;
    let judged = describe(handle).map_err(|errno| {
        refused(path, "the directory could not be examined", ErrorKind::HostIo).with_source(errno)
    })?;
    if judged.path.to_str().is_none() {
        return Err(
            refused(path, "the path is not valid UTF-8", ErrorKind::InvalidArgument)
                .with_hint("engines take paths as text; rename the directory"),
        );
    }
    // Also tells a deleted directory and another mount namespace, whose paths mean nothing here.
    if judged.verify_unmoved().is_err() {
        return Err(missing(path));
    }
    if let Some((offence, other)) = protected::conflict(&judged.path, judged.identity, host) {
        return Err(conflicting(path, &judged.path, offence, &other));
    }
    if on_kernel_file_system(&judged.handle) {
        return Err(refused(
            path,
            "this file system is the kernel's own",
            ErrorKind::WorkspaceRefused,
        )
        .with_hint("choose a project directory"));
    }
    Ok(judged)
}

fn describe(handle: OwnedFd) -> rustix::io::Result<JudgedDir> {
    let stat = fstat(&handle)?;
    Ok(JudgedDir {
        path: path_of(&handle)?,
        identity: (stat.st_dev, stat.st_ino),
        owner: UserIds {
            uid: stat.st_uid,
            gid: stat.st_gid,
        },
        mode: stat.st_mode,
        handle,
    })
}

/// Where an open handle is, without symlinks.
fn path_of(handle: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", handle.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(link.into_bytes())))
}

fn identity_of(handle: &OwnedFd) -> rustix::io::Result<Identity> {
    fstat(handle).map(|stat| (stat.st_dev, stat.st_ino))
}

/// proc, sysfs, cgroups, debugfs and their like, wherever they are mounted.
fn on_kernel_file_system(handle: &OwnedFd) -> bool {
    const MAGIC: [FsWord; 13] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x0027_e0eb, // cgroup
        0x6367_7270, // cgroup2
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0x1cd1,      // devpts
        0x6265_7069, // configfs
        0xcafe_4a11, // bpf
        0xde5e_81e4, // efivarfs
        0x6e73_6673, // nsfs
        0x5049_4446, // pidfs
    ];
    // A file system that cannot be asked is none of these.
    fstatfs(handle).is_ok_and(|answer| MAGIC.contains(&answer.f_type))
}

fn refused(path: &Path, message: &'static str, kind: ErrorKind) -> Error {
    Error::new(kind, OPERATION, message).with_context("path", path.display().to_string().escape_debug())
}

fn missing(path: &Path) -> Error {
    refused(path, "there is no such directory", ErrorKind::WorkspaceMissing)
        .with_hint("check the spelling, or make the directory first")
}

fn unopened(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR => missing(path),
        Errno::NAMETOOLONG => refused(path, "the path is too long", ErrorKind::InvalidArgument),
        Errno::LOOP => refused(path, "its symlinks lead in a circle", ErrorKind::WorkspaceRefused),
        Errno::ACCESS | Errno::PERM => {
            refused(path, "this user may not enter it", ErrorKind::WorkspaceRefused)
                .with_hint("choose a directory that the user who runs this program can enter")
        }
        other => refused(path, "the directory could not be opened", ErrorKind::HostIo).with_source(other),
    }
}

fn conflicting(asked: &Path, path: &Path, offence: protected::Offence, other: &Path) -> Error {
    let mut error = Error::new(
        ErrorKind::WorkspaceRefused,
        OPERATION,
        format!(
            "it {} {}, which is never shown to a session",
            offence.as_str(),
            other.display()
        ),
    )
    .with_context("path", asked.display().to_string().escape_debug());
    if asked != path {
        error = error.with_context("leads to", path.display().to_string().escape_debug());
    }
    error.with_hint("choose a project directory that holds nothing but the project")
}

/// Who works in the session: the owner of its directory when that is not root, else [`UserIds::DEFAULT`]. Never root's
/// group either.
pub fn user_for(dir: Option<&JudgedDir>) -> UserIds {
    match dir.map(JudgedDir::owner) {
        Some(owner) if owner.uid != 0 && owner.gid != 0 => owner,
        Some(owner) if owner.uid != 0 => UserIds {
            uid: owner.uid,
            ..UserIds::DEFAULT
        },
        _ => UserIds::DEFAULT,
    }
}

/// Whether `user` could write the directory itself. Its parents do not matter: the session sees a mount.
///
/// # Errors
/// `WorkspaceNotWritable`.
pub fn check_writable(dir: &JudgedDir, user: UserIds) -> Result<()> {
    let class = if dir.owner.uid == user.uid {
        dir.mode >> 6
    } else if dir.owner.gid == user.gid {
        dir.mode >> 3
    } else {
        dir.mode
    };
    let read_only =
        fstatvfs(&dir.handle).is_ok_and(|answer| answer.f_flag.contains(StatVfsMountFlags::RDONLY));
    let wanted = if FileType::from_raw_mode(dir.mode) == FileType::Directory {
        0o7
    } else {
        0o6
    };
    if class & wanted == wanted && !read_only {
        return Ok(());
    }
    let error = Error::new(
        ErrorKind::WorkspaceNotWritable,
        OPERATION,
        if read_only {
            "its file system is mounted read-only".to_owned()
        } else {
            format!(
                "user {}:{}, who works in the session, cannot write it",
                user.uid, user.gid
            )
        },
    )
    .with_context("path", dir.path.display().to_string().escape_debug())
    .with_context("owner", format_args!("{}:{}", dir.owner.uid, dir.owner.gid))
    .with_context("mode", format_args!("{:o}", dir.mode & 0o7777));
    Err(if read_only {
        error.with_hint("work on a copy instead (--copy)")
    } else {
        error.with_hint(format!(
            "work on a copy instead (--copy), or give the directory away: chown -R {}:{} {}",
            user.uid,
            user.gid,
            dir.path.display()
        ))
    })
}
