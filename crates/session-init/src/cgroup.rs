//! What the container's control group says, in either version: memory, processor time, tasks, kills for memory.
//!
//! Inside a container the files usually lie at the mount itself; where they do not (no namespace of its own), the path of
//! this process's group is tried first.

use std::{
    fs,
    path::{Path, PathBuf},
};

use session_link::Health;

/// Values at or above this are version 1's way to say "none".
const NO_LIMIT: u64 = 1 << 60;

/// Where the files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cgroup {
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    pids: Option<PathBuf>,
    unified: bool,
}

impl Cgroup {
    /// Looks where the files are.
    pub(crate) fn find() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::find_in(Path::new("/sys/fs/cgroup"), &groups)
    }

    fn find_in(root: &Path, groups: &str) -> Self {
        let own = |controller: &str| {
            groups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers
                    .split(',')
                    .any(|name| name == controller)
                    .then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let find = |mount: PathBuf, controller: &str, file: &str| {
            let nested = own(controller).map(|path| mount.join(path));
            nested
                .into_iter()
                .chain([mount])
                .find(|directory| directory.join(file).exists())
        };
        if root.join("cgroup.controllers").exists() {
            let unified = |file| find(root.to_owned(), "", file);
            return Self {
                memory: unified("memory.current"),
                cpu: unified("cpu.stat"),
                pids: unified("pids.current"),
                unified: true,
            };
        }
        Self {
            memory: find(root.join("memory"), "memory", "memory.usage_in_bytes"),
            cpu: find(root.join("cpuacct"), "cpuacct", "cpuacct.usage"),
            pids: find(root.join("pids"), "pids", "pids.current"),
            unified: false,
        }
    }

    /// Kills for memory since the group was made.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let file = if self.unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        field(self.memory.as_ref()?, file, "oom_kill")
    }

    /// Fills in what the files say.
    pub(crate) fn measure(&self, health: &mut Health) {
        let (usage, limit) = match self.unified {
            true => ("memory.current", "memory.max"),
            false => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
        };
        if let Some(memory) = &self.memory {
            health.memory = number(memory, usage);
            health.memory_limit = number(memory, limit).filter(|limit| *limit < NO_LIMIT);
        }
        if let Some(cpu) = &self.cpu {
            health.cpu_micros = match self.unified {
                true => field(cpu, "cpu.stat", "usage_usec"),
                false => number(cpu, "cpuacct.usage").map(|nanos| nanos / 1000),
            };
        }
        if let Some(pids) = &self.pids {
            health.pids = number(pids, "pids.current");
            health.pids_limit = number(pids, "pids.max");
        }
        health.oom_kills = self.oom_kills();
    }
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
}

fn field(directory: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(directory.join(file)).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Cgroup, Health};

    fn files(list: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in list {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        root
    }

    fn measured(cgroup: &Cgroup) -> Health {
        let mut health = Health::default();
        cgroup.measure(&mut health);
        health
    }

    #[test]
    fn reads_version_2() {
        let root = files(&[
            ("cgroup.controllers", "memory"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\noom 1\noom_kill 3\noom_group_kill 0\n"),
            ("cpu.stat", "usage_usec 77\nuser_usec 1\n"),
            ("pids.current", "5\n"),
            ("pids.max", "512\n"),
        ]);
        let health = measured(&Cgroup::find_in(root.path(), "0::/\n"));
        assert_eq!(
            (health.memory, health.memory_limit, health.oom_kills),
            (Some(4096), None, Some(3))
        );
        assert_eq!(
            (health.cpu_micros, health.pids, health.pids_limit),
            (Some(77), Some(5), Some(512))
        );
    }

    #[test]
    fn reads_version_1_of_a_nested_group() {
        let root = files(&[
            ("memory/docker/x/memory.usage_in_bytes", "8192\n"),
            ("memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory/docker/x/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
            ("memory/memory.usage_in_bytes", "1\n"),
            ("cpuacct/cpuacct.usage", "5000\n"),
        ]);
        let groups = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n";
        let health = measured(&Cgroup::find_in(root.path(), groups));
        assert_eq!(
            (health.memory, health.memory_limit, health.oom_kills),
            (Some(8192), None, Some(2))
        );
        assert_eq!((health.cpu_micros, health.pids), (Some(5), None));
    }
}
