//! A program that others talk to while it runs: started with a log, asked for its address there, ended as its user would.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use xtask::error::{Context, Error, Result};
use xtask::process::Tool;

/// A program says where it listens within this time, and ends within it.
const PATIENCE: Duration = Duration::from_secs(20);
const HOST: &str = "127.0.0.1:";
const SHOWN_LINES: usize = 20;

/// A running program. What is dropped without [`Running::stop`] is killed.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    program: PathBuf,
    log: PathBuf,
}

impl Running {
    /// Starts it; everything that it says goes into the log.
    pub(super) fn start(program: &Path, prepare: impl FnOnce(Tool) -> Tool, log: &Path) -> Result<Self> {
        let file = File::create(log).context(|| format!("cannot create {}", log.display()))?;
        Ok(Self {
            child: prepare(Tool::new(program)).spawn_logged(&file)?,
            program: program.to_owned(),
            log: log.to_owned(),
        })
    }

    /// The address of loopback that follows `mark` in its log, once it is there.
    pub(super) fn address(&mut self, mark: &str) -> Result<SocketAddr> {
        self.told(mark, |log| announced(log, mark))
    }

    /// The first whole line with `mark`, once it is there.
    pub(super) fn line(&mut self, mark: &str) -> Result<String> {
        self.told(mark, |log| whole_line(log, mark).map(str::to_owned))
    }

    fn told<T>(&mut self, mark: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(found) = find(&log) {
                return Ok(found);
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                return Err(self.failure("does not say where it listens").hint(format!(
                    "its log has to have a line with \"{mark}\" and the address"
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as its user would, and waits.
    pub(super) fn stop(mut self) -> Result<()> {
        // Whoever waits for more input waits no longer.
        drop(self.child.stdin.take());
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _gone = kill_process(pid, Signal::INT);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = self.child.try_wait();
            match ended.context(|| format!("cannot wait for {}", self.program.display()))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(&format!("ended with {status}"))),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(self.failure(&format!("did not end within {} s", PATIENCE.as_secs())))
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    fn failure(&self, what: &str) -> Error {
        Error::new(format!("{} {what}", self.program.display())).output(self.last_words())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After an ordered end there is nobody left to kill.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// In a line that is whole: of a port that is being written, the first digits may be a port, too.
fn whole_line<'a>(log: &'a str, mark: &str) -> Option<&'a str> {
    log.split_inclusive('\n')
        .find(|line| line.contains(mark) && line.ends_with('\n'))
}

fn announced(log: &str, mark: &str) -> Option<SocketAddr> {
    let line = whole_line(log, mark)?;
    let (_, rest) = line.split_once(HOST)?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    format!("{HOST}{port}").parse().ok()
}

/// A token that nobody guesses, for the time of a run.
pub(crate) fn token() -> Result<String> {
    let cannot = || "cannot make a token".to_owned();
    let mut bytes = [0; 16];
    let mut random = File::open("/dev/urandom").context(cannot)?;
    std::io::Read::read_exact(&mut random, &mut bytes).context(cannot)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_log_whatever_its_form() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 3001)));
        for log in [
            "WARN something\n2026-11-21T13:59:27Z  INFO mcp_frontend::http: serving MCP over HTTP at /mcp address=127.0.0.1:3001\n",
            "{\"fields\":{\"message\":\"serving MCP over HTTP at /mcp\",\"address\":\"127.0.0.1:3001\"}}\n",
        ] {
            assert_eq!(announced(log, "serving MCP over HTTP"), address, "{log}");
        }
        for log in [
            "listening on 127.0.0.1:3001\n",
            "serving at 127.0.0.1:\n",
            "serving at 127.0.0.1:300",
        ] {
            assert_eq!(announced(log, "serving"), None, "{log}");
        }
    }
}
