//! A user's machine: a state directory, an environment, and no process left when the test is over.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cofferdam");
/// How long anything may take that is not measured.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A daemon that nobody ends leaves after this time: longer than any test, and not for ever.
const IDLE_EXIT: &str = "60s";

pub(crate) struct Host {
    dir: tempfile::TempDir,
    state: PathBuf,
    environment: Vec<(String, String)>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        Self {
            dir,
            state,
            environment: Vec::new(),
        }
    }

    /// With a variable for every program.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn with_state(mut self, below: &str) -> Self {
        self.state = self.dir.path().join(below);
        self
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.state.join("cofferdam.sock")
    }

    /// What the daemon that a client started has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.state.join("telemetry/serve.log")).unwrap_or_default()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.program(PROGRAM, args)
    }

    pub(crate) fn program(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/bin:/bin")
            .env("COFFERDAM_STATE_DIR", &self.state)
            .env("COFFERDAM_IDLE_EXIT", IDLE_EXIT)
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::of(&self.command(args).output().unwrap())
    }

    /// Runs with a further variable.
    pub(crate) fn run_with(&self, variable: (&str, &str), args: &[&str]) -> Said {
        Said::of(&self.command(args).env(variable.0, variable.1).output().unwrap())
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}\n{}", self.log());
        said.stdout
    }

    /// What the daemon says of itself; `None` when none runs.
    pub(crate) fn info(&self) -> Option<Value> {
        let said = self.run(&["health", "--json"]);
        (said.code == Some(0)).then(|| serde_json::from_str(&said.stdout).unwrap())
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        let pid = self.info()?["pid"].as_i64()?;
        Pid::from_raw(i32::try_from(pid).unwrap())
    }

    /// Starts `serve` in the foreground and waits until it is ready.
    pub(crate) fn serve(&self, args: &[&str]) -> Serving {
        let child = self.command(&[&["serve"], args].concat()).spawn().unwrap();
        let serving = Serving { child: Some(child) };
        self.until("it is ready", || self.info().is_some());
        serving
    }

    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The processes that were told of this state directory.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let told = self.state.as_os_str().as_encoded_bytes();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(told.len()).any(|window| window == told))
        })
        .filter_map(Pid::from_raw)
        .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// A daemon in the foreground. Killed when it is dropped.
pub(crate) struct Serving {
    child: Option<Child>,
}

impl Serving {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Said {
        Said::of(&self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }
}
