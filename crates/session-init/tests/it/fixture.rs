//! A running `session-init` and a way to reach it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use session_link::{
    ExitReport, Link, LinkListener, LinkOptions, OutputStream, Process, ProcessEvent, ProcessId, SpawnSpec,
    Tunnels,
};
use tempfile::TempDir;

/// What a container gives its programs.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) listener: LinkListener,
    pub(crate) session: String,
    init: Child,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

pub(crate) fn unique(prefix: &str) -> String {
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

impl Fixture {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let links = directory.path().join("link");
        for name in ["link", "spool", "work"] {
            std::fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        let listener = LinkListener::bind(&links, "host").expect("a listener");
        let session = unique("session");
        let init = Command::new(env!("CARGO_BIN_EXE_session-init"))
            .arg("--link-dir")
            .arg(&links)
            .arg("--spool-dir")
            .arg(directory.path().join("spool"))
            .args(["--session", &session])
            .current_dir(directory.path().join("work"))
            .stdin(Stdio::null())
            .spawn()
            .expect("session-init starts");
        Self {
            directory,
            listener,
            session,
            init,
        }
    }

    pub(crate) async fn linked() -> (Self, Link) {
        let fixture = Self::start();
        let (link, _tunnels) = fixture.link().await;
        (fixture, link)
    }

    pub(crate) async fn link(&self) -> (Link, Tunnels) {
        accept(&self.listener).await
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.directory.path().join("link")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.init.id()
    }

    pub(crate) fn end(&mut self) -> std::process::ExitStatus {
        kill_process(pid(self.init.id()), Signal::TERM).expect("it runs");
        self.init.wait().expect("it ends")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if matches!(self.init.try_wait(), Ok(None)) {
            let _ = kill_process(pid(self.init.id()), Signal::TERM);
            let _ = self.init.wait();
        }
    }
}

pub(crate) fn pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not zero")
}

pub(crate) async fn accept(listener: &LinkListener) -> (Link, Tunnels) {
    let io = tokio::time::timeout(PATIENCE, listener.accept())
        .await
        .expect("init dials")
        .expect("a connection");
    Link::establish(io, LinkOptions::default()).await.expect("a link")
}

/// A command line for `sh -c`.
pub(crate) fn sh(script: &str) -> SpawnSpec {
    spec(["sh", "-c", script])
}

pub(crate) fn spec<const N: usize>(argv: [&str; N]) -> SpawnSpec {
    let id = ProcessId::new(unique("p")).expect("an id");
    let mut spec = SpawnSpec::new(id, argv);
    spec.env.push(("PATH".into(), PATH.into()));
    spec
}

/// All that a process said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) gaps: Vec<(u64, u64)>,
    pub(crate) exit: Option<ExitReport>,
}

impl Said {
    pub(crate) fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    pub(crate) fn exit(&self) -> &ExitReport {
        self.exit.as_ref().expect("it ended")
    }

    pub(crate) fn take(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Output {
                stream: OutputStream::Stdout,
                bytes,
                ..
            } => self.stdout.extend_from_slice(&bytes),
            ProcessEvent::Output {
                stream: OutputStream::Stderr,
                bytes,
                ..
            } => self.stderr.extend_from_slice(&bytes),
            ProcessEvent::Gap { from, to } => self.gaps.push((from, to)),
            ProcessEvent::Exited(report) => self.exit = Some(report),
        }
    }
}

/// Reads a process to its end.
pub(crate) async fn finish(mut process: Process) -> Said {
    let mut said = Said::default();
    let all = async {
        while let Some(event) = process.next().await.expect("an event") {
            said.take(event);
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("it ends in time");
    said
}

/// Runs a command to its end.
pub(crate) async fn run(link: &Link, spec: SpawnSpec) -> Said {
    finish(link.run(spec).await.expect("it runs")).await
}

/// Reads a process until it has said so much on standard output.
pub(crate) async fn read_some(process: &mut Process, length: usize) -> Said {
    let mut said = Said::default();
    let some = async {
        while said.stdout.len() < length {
            said.take(process.next().await.expect("an event").expect("more"));
        }
    };
    tokio::time::timeout(PATIENCE, some)
        .await
        .expect("output in time");
    said
}

/// Waits until `check` holds.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs: it is there and no zombie.
pub(crate) fn runs(pid: u32) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}
