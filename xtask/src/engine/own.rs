//! The engine that we started: how it starts, how it is known again, how it stops.
//!
//! It outlives the task that started it, so a file remembers the process by its number *and* its time of birth: a number
//! alone may belong to somebody else by the time of `engine down`.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use xtask::error::{Context, Error, Result};
use xtask::process::{Tool, search_path};
use xtask::reporter::{Reporter, Step};
use xtask::workspace;

use super::endpoint::Endpoint;

const START_LIMIT: Duration = Duration::from_secs(60);
/// An engine gives its containers 10 s to end; more than one round of that is a hang.
const STOP_LIMIT: Duration = Duration::from_secs(45);
const PULSE: Duration = Duration::from_millis(100);
const LOG_LINES: usize = 15;

/// Where the engine of ours is remembered.
#[derive(Debug)]
pub(crate) struct Own {
    program: &'static str,
    dir: PathBuf,
}

/// A process that cannot be taken for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    pid: i32,
    born: u64,
}

impl Own {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self::at("dockerd", workspace::state("engine")?))
    }

    /// Another program than Docker's, remembered elsewhere.
    pub(super) fn at(program: &'static str, dir: PathBuf) -> Self {
        Self { program, dir }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.program))
    }

    fn memory(&self) -> PathBuf {
        self.dir.join(format!("{}.pid", self.program))
    }

    /// The process number of our engine while it runs.
    pub(crate) fn running(&self) -> Option<i32> {
        let identity = Identity::parse(&std::fs::read_to_string(self.memory()).ok()?)?;
        identity.lives().then_some(identity.pid)
    }

    /// Starts `dockerd` and waits until it answers.
    pub(crate) fn start(&self, endpoint: &Endpoint, reporter: &Reporter) -> Result<()> {
        // A session of its own: no signal of this terminal, and not the end of this task, reaches it.
        let service = Tool::new("setsid")
            .arg("dockerd")
            .env("PATH", search_path())
            .dir(Path::new("/"));
        self.start_service(service, endpoint, reporter)
    }

    /// Starts a service and waits until it answers.
    pub(super) fn start_service(
        &self,
        service: Tool,
        endpoint: &Endpoint,
        reporter: &Reporter,
    ) -> Result<()> {
        let mut step = reporter.step(format!("start {}", self.program));
        let log =
            std::fs::File::create(self.log()).context(|| format!("cannot write {}", self.log().display()))?;
        let mut child = service.spawn_logged(&log)?;
        self.remember(&child)?;
        self.await_answer(&mut child, endpoint, &mut step)?;
        step.done("it answers");
        Ok(())
    }

    fn remember(&self, child: &Child) -> Result<()> {
        let identity = i32::try_from(child.id()).ok().and_then(Identity::of);
        let Some(identity) = identity else { return Ok(()) };
        std::fs::write(self.memory(), identity.to_string())
            .context(|| format!("cannot remember the engine in {}", self.memory().display()))
    }

    fn await_answer(&self, child: &mut Child, endpoint: &Endpoint, step: &mut Step) -> Result<()> {
        let started = Instant::now();
        loop {
            match endpoint.ping() {
                Ok(()) => return Ok(()),
                Err(_) if started.elapsed() > START_LIMIT => break,
                Err(_) => {}
            }
            if let Some(status) = child
                .try_wait()
                .context(|| format!("cannot watch {}", self.program))?
            {
                return Err(self.failed(format!("{} ended at once ({status})", self.program)));
            }
            step.update(last_lines(&self.log(), 1).as_str());
            std::thread::sleep(PULSE);
        }
        Err(self.failed(format!(
            "{} does not answer after {} s",
            self.program,
            START_LIMIT.as_secs()
        )))
    }

    fn failed(&self, message: String) -> Error {
        Error::new(message)
            .output(last_lines(&self.log(), LOG_LINES))
            .hint(format!(
                "the whole log is {}; inside a container {} needs a privileged one; \
             or set DOCKER_HOST to an engine that runs elsewhere",
                self.log().display(),
                self.program
            ))
    }

    /// Stops our engine and waits for its end; false when none of ours was running.
    pub(crate) fn stop(&self, reporter: &Reporter) -> Result<bool> {
        let Some(pid) = self.running() else {
            self.forget()?;
            return Ok(false);
        };
        let step = reporter.step(format!("stop {}, process {pid}", self.program));
        let process = Pid::from_raw(pid).ok_or_else(|| Error::new(format!("{pid} is no process number")))?;
        kill_process(process, Signal::TERM)
            .context(|| format!("cannot stop {}, process {pid}", self.program))?;
        let started = Instant::now();
        while self.running().is_some() {
            if started.elapsed() > STOP_LIMIT {
                return Err(self.failed(format!(
                    "{} still runs {} s after SIGTERM",
                    self.program,
                    STOP_LIMIT.as_secs()
                )));
            }
            std::thread::sleep(PULSE);
        }
        self.forget()?;
        step.done("");
        Ok(true)
    }

    fn forget(&self) -> Result<()> {
        match std::fs::remove_file(self.memory()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::new(format!("cannot remove {}", self.memory().display())).source(error))
            }
            _ => Ok(()),
        }
    }
}

impl Identity {
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, born) = state_and_birth(&stat)?;
        // A zombie has ended; only its parent has not noticed.
        (state != "Z").then_some(Self { pid, born })
    }

    fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    fn parse(text: &str) -> Option<Self> {
        let (pid, born) = text.trim().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            born: born.parse().ok()?,
        })
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {}", self.pid, self.born)
    }
}

/// Fields 3 and 22 of `/proc/PID/stat`; the name before them may itself hold spaces and brackets.
fn state_and_birth(stat: &str) -> Option<(&str, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let born = fields.nth(18)?.parse().ok()?;
    Some((state, born))
}

fn last_lines(log: &Path, count: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<_> = text.lines().rev().take(count).collect();
    lines.reverse();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (tempfile::TempDir, Own) {
        let dir = tempfile::tempdir().expect("a directory");
        let own = Own::at("dockerd", dir.path().to_owned());
        (dir, own)
    }

    #[test]
    fn reads_birth_behind_an_evil_name() {
        let stat = "42 (a) S (b) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(state_and_birth(stat), Some(("R", 777)));
    }

    #[test]
    fn a_number_that_was_used_again_is_not_ours() {
        let (_dir, own) = own();
        let me = Identity::of(std::process::id().try_into().expect("a number")).expect("I live");
        std::fs::write(own.memory(), me.to_string()).expect("written");
        assert_eq!(own.running(), Some(me.pid));

        let other = Identity {
            born: me.born + 1,
            ..me
        };
        std::fs::write(own.memory(), other.to_string()).expect("written");
        assert_eq!(own.running(), None);
        assert!(!own.stop(&Reporter::new()).expect("nothing to stop"));
        assert!(!own.memory().exists());
    }

    #[test]
    fn stops_exactly_the_process_that_it_remembers() {
        let (_dir, own) = own();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("a process");
        own.remember(&child).expect("remembered");

        assert!(own.stop(&Reporter::new()).expect("stopped"));
        assert!(!child.wait().expect("it ended").success());
        assert_eq!(own.running(), None);
    }
}
