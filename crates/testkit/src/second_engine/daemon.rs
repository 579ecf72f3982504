//! The process of a second engine, and where it keeps its things.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How many of its last lines explain a failure.
const LOG_LINES: usize = 15;

/// Where an engine keeps its things. All of it follows from the root, so that whoever comes next finds what is left.
#[derive(Debug, Clone)]
pub(super) struct Places {
    root: PathBuf,
    name: String,
}

impl Places {
    pub(super) fn new(root: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        root.hash(&mut hasher);
        Self {
            root: root.to_owned(),
            name: format!("cofferdam-second-{:016x}", hasher.finish()),
        }
    }

    /// Images and containers, which outlive the engine.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// What lives as long as the engine does. Its sockets need a short path.
    pub(super) fn run(&self) -> PathBuf {
        std::env::temp_dir().join(&self.name)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.run().join("engine.sock")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.run().join("engine.pid")
    }

    /// The process that watches its containers.
    pub(super) fn helper_pid_file(&self) -> PathBuf {
        self.run().join("exec/containerd/containerd.pid")
    }

    /// All its containers are in this group of the kernel's, so that they can be found without it.
    pub(super) fn control_group(&self) -> &str {
        &self.name
    }

    fn log(&self) -> PathBuf {
        self.root.join("engine.log")
    }

    /// The engine did not do what it should; its log tells why.
    pub(super) fn failure(&self, what: &str) -> Error {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        Error::other(format!("the second engine {what}:\n{last}"))
    }
}

/// A running engine. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
}

impl Daemon {
    pub(super) fn spawn(places: &Places) -> Result<Self> {
        let run = places.run();
        std::fs::create_dir_all(run.join("exec"))?;
        // The machine's own settings are not meant for it.
        let settings = run.join("engine.json");
        std::fs::write(&settings, "{}")?;
        let log = File::options().create(true).append(true).open(places.log())?;
        // In a network of its own: one without a bridge removes that of the machine's engine.
        let child = Command::new("unshare")
            .args(["--net", "--", "dockerd"])
            .arg("--config-file")
            .arg(settings)
            .arg("--data-root")
            .arg(places.data())
            .arg("--exec-root")
            .arg(run.join("exec"))
            .arg("--pidfile")
            .arg(places.pid_file())
            .arg(format!("--host=unix://{}", places.socket().display()))
            // Where the machine has a containerd, both engines use it: under names of their own.
            .arg(format!("--containerd-namespace={}", places.control_group()))
            .arg(format!(
                "--containerd-plugins-namespace={}-plugins",
                places.control_group()
            ))
            .arg(format!("--cgroup-parent=/{}", places.control_group()))
            .arg("--exec-opt=native.cgroupdriver=cgroupfs")
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--ip-forward=false", "--ip-masq=false", "--userland-proxy=false"])
            .args(["--shutdown-timeout=5", "--log-level=warn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // What a terminal tells a test is not meant for the engine.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child })
    }

    pub(super) fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub(super) async fn kill(mut self) -> Result<()> {
        self.child.kill().await
    }

    pub(super) async fn terminate(mut self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => Err(Error::other("the second engine does not end")),
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .child
            .id()
            .and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        let pid = pid.ok_or_else(|| Error::other("the second engine has ended"))?;
        Ok(kill_process(pid, signal)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_from_the_root_alone() {
        let (one, same) = (Places::new(Path::new("/a")), Places::new(Path::new("/a")));
        assert_eq!(one.socket(), same.socket());
        assert_ne!(one.socket(), Places::new(Path::new("/b")).socket());
        // The kernel takes no longer path for a socket.
        let deepest = one.run().join("exec/containerd/containerd-debug.sock");
        assert!(deepest.as_os_str().len() < 108, "{}", deepest.display());
    }
}
