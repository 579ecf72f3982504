//! What is never shown to a session: the list, and how a directory is compared with it.
//!
//! A path is compared three ways, because each alone can be got around: by its spelling, by where symlinks lead, and by
//! device and inode, which also sees through bind mounts and through file systems that fold case.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};

use super::{HostPaths, Identity, identity_of, path_of};

/// How far the protection of a path reaches. Whatever contains a protected path is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The path itself; what is below may be shown.
    Itself,
    /// The path and everything below.
    Tree,
}

/// How a directory offends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offence {
    Is,
    Inside,
    Contains,
}

impl Offence {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::Inside => "is inside",
            Self::Contains => "contains",
        }
    }
}

/// Parts of the system that a session could use to leave its container or to learn the host's secrets.
const SYSTEM_TREES: &[&str] = &[
    "/boot",
    "/dev",
    "/etc",
    "/proc",
    "/run",
    "/sys",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/run",
];

/// Where people and their tools keep credentials, below a home directory.
const HOME_TREES: &[&str] = &[
    ".aws",
    ".azure",
    ".cargo/credentials.toml",
    ".claude",
    ".claude.json",
    ".config/gcloud",
    ".config/gh",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pypirc",
    ".ssh",
];

const ROOT_HOME: &str = "/root";

/// One protected path.
#[derive(Debug)]
struct Protected {
    spelled: PathBuf,
    reach: Reach,
    found: Option<Found>,
}

/// A protected path that exists.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    identity: Identity,
    /// The directories above it.
    above: Vec<Identity>,
}

impl Protected {
    fn new(spelled: PathBuf, reach: Reach) -> Self {
        let found = Found::look(&spelled);
        Self {
            spelled,
            reach,
            found,
        }
    }

    fn offence(&self, path: &Path, identity: Identity, above: &[Identity]) -> Option<Offence> {
        let found = self.found.as_ref();
        let names = [
            Some(self.spelled.as_path()),
            found.map(|found| found.path.as_path()),
        ];
        let names = || names.iter().flatten();
        let same = |found: &Found| found.identity == identity;
        let tree = self.reach == Reach::Tree;
        if names().any(|name| *name == path) || found.is_some_and(same) {
            return Some(Offence::Is);
        }
        let below = |found: &Found| above.contains(&found.identity);
        if tree && (names().any(|name| path.starts_with(name)) || found.is_some_and(below)) {
            return Some(Offence::Inside);
        }
        let found = found?;
        let contains = names().any(|name| name.starts_with(path)) || found.above.contains(&identity);
        contains.then_some(Offence::Contains)
    }
}

impl Found {
    fn look(spelled: &Path) -> Option<Self> {
        let handle = open(spelled, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let path = path_of(&handle).ok()?;
        let above = ancestors(&path);
        Some(Self {
            identity: identity_of(&handle).ok()?,
            path,
            above,
        })
    }
}

/// The identities of the directories above `path`, which has no symlinks in it.
pub(super) fn ancestors(path: &Path) -> Vec<Identity> {
    let Some(parent) = path.parent() else {
        return Vec::new();
    };
    let Ok(mut here) = open(parent, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
        return Vec::new();
    };
    let mut above = Vec::new();
    while let Ok(identity) = identity_of(&here) {
        // The root is its own parent.
        if above.last() == Some(&identity) {
            break;
        }
        above.push(identity);
        let Ok(next) = openat(here.as_fd(), "..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
            break;
        };
        here = next;
    }
    above
}

/// The protected path with which a directory conflicts, and how.
pub(super) fn conflict(path: &Path, identity: Identity, host: &HostPaths) -> Option<(Offence, PathBuf)> {
    let above = ancestors(path);
    protected(host)
        .into_iter()
        .find_map(|entry| Some((entry.offence(path, identity, &above)?, entry.spelled)))
}

fn protected(host: &HostPaths) -> Vec<Protected> {
    let tree = |path: PathBuf| Protected::new(path, Reach::Tree);
    let mut list = vec![Protected::new(PathBuf::from("/"), Reach::Itself)];
    // The most telling reason first: a home directory also contains `.ssh`.
    if let Some(home) = &host.home {
        list.push(Protected::new(home.clone(), Reach::Itself));
        list.extend(HOME_TREES.iter().map(|name| tree(home.join(name))));
    }
    // Root's own projects are below its home like anybody's; to others the whole of it is closed.
    if !host.home.as_ref().is_some_and(|home| home.starts_with(ROOT_HOME)) {
        list.push(tree(PathBuf::from(ROOT_HOME)));
    }
    list.extend(SYSTEM_TREES.iter().map(|path| tree(PathBuf::from(path))));
    list.push(tree(host.state_dir.clone()));
    list.extend(host.engine_sockets.iter().cloned().map(tree));
    list
}
