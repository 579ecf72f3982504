//! A container's file system: a temporary directory of the host, with other directories mounted over it.
//!
//! Programs name paths as they are seen inside; here they become paths of the host. This is a double for tests whose
//! programs are the tests' own, so it keeps the rules that callers can see (what can be written, what is absent, what the
//! kernel shows) and not the walls that only a kernel can build.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use session_core::runtime::{ContainerSpec, NetworkMode, WorkspaceVolume};
use tempfile::TempDir;

/// Where the user inside can write.
const WRITABLE: [&str; 3] = [ContainerSpec::WORKSPACE_DIR, ContainerSpec::HOME_DIR, "/tmp"];

/// Files that every container has.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\n";

#[derive(Debug)]
struct Mount {
    target: String,
    source: PathBuf,
    read_only: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Files {
    root: Arc<TempDir>,
    mounts: Vec<Mount>,
    /// What the kernel would show, by path.
    kernel: BTreeMap<String, String>,
}

impl Files {
    /// The file system of a container in the storage `root`.
    ///
    /// # Errors
    /// When a directory cannot be made, or a mounted one does not exist.
    pub(super) fn new(root: Arc<TempDir>, spec: &ContainerSpec) -> io::Result<Self> {
        for directory in WRITABLE {
            std::fs::create_dir_all(root.path().join(&directory[1..]))?;
        }
        std::fs::create_dir_all(root.path().join("etc"))?;
        std::fs::write(root.path().join("etc/passwd"), PASSWD)?;
        let mut mounts = Vec::new();
        if let WorkspaceVolume::Host { path, read_only } = &spec.workspace {
            mounts.push(Mount {
                target: ContainerSpec::WORKSPACE_DIR.to_owned(),
                source: path.clone(),
                read_only: *read_only,
            });
        }
        mounts.extend(spec.mounts.iter().map(|mount| Mount {
            target: mount.target.clone(),
            source: mount.source.clone(),
            read_only: mount.read_only,
        }));
        for mount in &mounts {
            std::fs::metadata(&mount.source)?;
        }
        Ok(Self {
            root,
            mounts,
            kernel: kernel_files(spec),
        })
    }

    /// What the kernel shows at `path`, if it is one of its files.
    pub(super) fn kernel(&self, path: &str) -> Option<&str> {
        self.kernel.get(path).map(String::as_str)
    }

    /// The path of the host behind `path`, relative paths starting at `cwd`.
    pub(super) fn host_path(&self, cwd: &str, path: &str) -> PathBuf {
        let inside = absolute(cwd, path);
        match self.mount_of(&inside) {
            Some((mount, rest)) => mount.source.join(rest),
            None => self.root.path().join(&inside[1..]),
        }
    }

    /// The path of the host behind `path`, if the user inside can write there.
    ///
    /// # Errors
    /// `ReadOnlyFilesystem`.
    pub(super) fn writable(&self, cwd: &str, path: &str) -> io::Result<PathBuf> {
        let inside = absolute(cwd, path);
        let allowed = match self.mount_of(&inside) {
            Some((mount, _)) => !mount.read_only,
            None => WRITABLE.iter().any(|tree| within(&inside, tree).is_some()),
        };
        if allowed {
            Ok(self.host_path("/", &inside))
        } else {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }
    }

    fn mount_of<'a>(&self, inside: &'a str) -> Option<(&Mount, &'a str)> {
        self.mounts
            .iter()
            .filter_map(|mount| within(inside, &mount.target).map(|rest| (mount, rest)))
            .max_by_key(|(mount, _)| mount.target.len())
    }

    /// The host's directory with the container's own storage.
    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }
}

/// `path` without `.`, `..` and doubled slashes; relative ones start at `cwd`.
pub(super) fn absolute(cwd: &str, path: &str) -> String {
    let base = if path.starts_with('/') { "" } else { cwd };
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn within<'a>(path: &'a str, tree: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(tree)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('/')
    }
}

fn kernel_files(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let (uid, gid) = (spec.user.uid, spec.user.gid);
    let status = |name: &str| {
        format!(
            "Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{gid}\t{gid}\t{gid}\t{gid}\n\
             CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
             CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
        )
    };
    let mut devices = "Inter-|   Receive\n face |bytes\n    lo: 0 0\n".to_owned();
    if spec.network == NetworkMode::Open {
        devices.push_str("  eth0: 0 0\n");
    }
    let limits = &spec.limits;
    let cpu = format!("{} 100000\n", u64::from(limits.milli_cpus) * 100);
    [
        ("/proc/1/status", status("session-init")),
        ("/proc/self/status", status("cat")),
        ("/proc/net/dev", devices),
        (
            "/proc/mounts",
            "overlay / overlay ro,relatime 0 0\ntmpfs /tmp tmpfs rw,nosuid,nodev 0 0\n".to_owned(),
        ),
        ("/sys/fs/cgroup/memory.max", format!("{}\n", limits.memory_bytes)),
        ("/sys/fs/cgroup/memory.swap.max", "0\n".to_owned()),
        ("/sys/fs/cgroup/pids.max", format!("{}\n", limits.pids)),
        ("/sys/fs/cgroup/cpu.max", cpu),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{absolute, within};

    #[test]
    fn paths_are_read_as_the_kernel_would() {
        assert_eq!(absolute("/workspace", "a/../b"), "/workspace/b");
        assert_eq!(absolute("/workspace", "/../../x"), "/x");
        assert_eq!(absolute("/workspace", "../../.."), "/");
        assert_eq!(within("/workspace2", "/workspace"), None);
        assert_eq!(within("/workspace/a/b", "/workspace"), Some("a/b"));
    }
}
