//! Runs other programs: argument vectors only, output shown as it comes, a clear error when one fails.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};
use crate::workspace;

const TAIL_LINES: usize = 25;
const LINE_LIMIT: u64 = 64 * 1024;
const QUEUE: usize = 256;
/// How often a run looks at its clock and at a child that went silent.
const PULSE: Duration = Duration::from_millis(50);
/// How long the output of a child that has ended may still trickle in (its own children can hold the pipe for ever).
const GRACE: Duration = Duration::from_millis(500);

/// A program to run, and how.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    shown: String,
    limit: Option<Duration>,
}

/// What a program that ended well has said.
#[derive(Debug)]
pub struct Output {
    /// All of stdout.
    pub stdout: String,
}

impl Tool {
    /// A run of `program`: a path, or a name to be found in `PATH` and the system's directories.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let found = find(program).unwrap_or_else(|| PathBuf::from(program));
        let mut command = Command::new(found);
        command.stdin(Stdio::null());
        Self {
            command,
            shown: program.to_string_lossy().into_owned(),
            limit: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(self, args: I) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it there.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Reads stdin from there instead of from nowhere.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Kills the program and everything that it started when it takes longer.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs to the end, without a word, and returns what was printed.
    ///
    /// # Errors
    /// As [`Tool::run`].
    pub fn output(self) -> Result<Output> {
        self.run(|_| {})
    }

    /// Runs to the end and calls `on_line` for each line of either stream.
    ///
    /// # Errors
    /// When the program is missing, fails, is killed or takes too long; with its last lines.
    pub fn run(mut self, on_line: impl FnMut(&str)) -> Result<Output> {
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.cannot_start(error))?;
        let mut said = Said::default();
        let ended = follow(&mut child, self.limit, &mut said, on_line);
        let status = match ended {
            Ok(Some(status)) => status,
            Ok(None) => return Err(self.took_too_long(child).output(said.tail())),
            Err(error) => return Err(Error::new(format!("cannot wait for `{}`", self.shown)).source(error)),
        };
        if status.success() {
            let stdout = String::from_utf8_lossy(&said.stdout).into_owned();
            return Ok(Output { stdout });
        }
        Err(Error::new(format!("`{}` failed ({status})", self.shown)).output(said.tail()))
    }

    /// Runs to the end on this terminal: what it prints is what this task prints.
    ///
    /// # Errors
    /// When it cannot be started, or fails; it has said why by then.
    pub fn foreground(mut self) -> Result<()> {
        let status = self.command.status().map_err(|error| self.cannot_start(error))?;
        if status.success() {
            return Ok(());
        }
        let name = Path::new(self.command.get_program())
            .file_name()
            .unwrap_or_default();
        Err(Error::new(format!(
            "`{}` failed ({status})",
            name.to_string_lossy()
        )))
    }

    /// Starts the program with its stdout in a pipe, for another one to read.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_piped(mut self) -> Result<Child> {
        let spawned = self.command.stdout(Stdio::piped()).spawn();
        spawned.map_err(|error| self.cannot_start(error))
    }

    /// Starts the program with both streams in `log` and lets it live on alone.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_logged(mut self, log: &std::fs::File) -> Result<Child> {
        let (out, err) = (log.try_clone(), log.try_clone());
        let out = out.context(|| format!("cannot open the log for `{}`", self.shown))?;
        let err = err.context(|| format!("cannot open the log for `{}`", self.shown))?;
        let spawned = self.command.stdout(out).stderr(err).spawn();
        spawned.map_err(|error| self.cannot_start(error))
    }

    fn cannot_start(&self, error: std::io::Error) -> Error {
        let failure = Error::new(format!("cannot start `{}`", self.shown));
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let failure = failure.source(error);
        if missing {
            failure.hint("install that program, or put it into PATH")
        } else {
            failure
        }
    }

    fn took_too_long(&self, mut child: Child) -> Error {
        // It may have ended between the last look and now; then there is nothing to kill.
        for descendant in descendants(child.id()) {
            let _ended = rustix::process::kill_process(descendant, rustix::process::Signal::KILL);
        }
        let _ended = child.kill();
        let _reaped = child.wait();
        let limit = self.limit.unwrap_or_default();
        Error::new(format!(
            "`{}` did not end within {} s",
            self.shown,
            limit.as_secs()
        ))
    }
}

/// Whether a program of that name can be run.
pub fn available(program: &str) -> bool {
    find(OsStr::new(program)).is_some()
}

/// Finds a program as a shell would, and also where an unprivileged `PATH` does not look.
fn find(program: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return Some(PathBuf::from(program));
    }
    std::env::split_paths(&search_path())
        .map(|dir| dir.join(program))
        .find(|path| executable(path))
}

/// `PATH` with the system's own directories at its end.
pub fn search_path() -> String {
    let path = workspace::env("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// The processes below `ancestor`, parents before children. A kill of cargo alone would leave its tests running.
fn descendants(ancestor: u32) -> Vec<rustix::process::Pid> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<(u32, u32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
    }
    let pids = found.into_iter().skip(1);
    pids.filter_map(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?))
        .collect()
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

enum Stream {
    Out,
    Err,
}

/// A line, or a part of one, with the stream that it came from.
type Heard = (Stream, Vec<u8>);

/// What was heard so far: all of stdout, and the last lines of both streams.
#[derive(Debug, Default)]
struct Said {
    stdout: Vec<u8>,
    tail: VecDeque<String>,
}

impl Said {
    /// A line, or a part of one that is too long: for programs they are put together again.
    fn hear(&mut self, (stream, bytes): Heard, on_line: &mut impl FnMut(&str)) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        on_line(&line);
        if matches!(stream, Stream::Out) {
            self.stdout.extend(bytes);
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    fn tail(self) -> String {
        self.tail.into_iter().collect::<Vec<_>>().join("\n")
    }
}

/// Hears a child out. `Ok(None)` means that its time was up.
fn follow(
    child: &mut Child,
    limit: Option<Duration>,
    said: &mut Said,
    mut on_line: impl FnMut(&str),
) -> std::io::Result<Option<ExitStatus>> {
    let lines = listen(child);
    let started = Instant::now();
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match lines.recv_timeout(PULSE) {
            Ok(heard) => said.hear(heard, &mut on_line),
            Err(RecvTimeoutError::Disconnected) if limit.is_none() => return child.wait().map(Some),
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(PULSE),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if ended.is_none() {
            ended = child.try_wait()?.map(|status| (status, Instant::now()));
        }
        match ended {
            Some((status, when)) if drained(&lines, said, &mut on_line) || when.elapsed() > GRACE => {
                return Ok(Some(status));
            }
            None if limit.is_some_and(|limit| started.elapsed() > limit) => return Ok(None),
            _ => {}
        }
    }
}

/// Takes what is there already; true when both streams are closed.
fn drained(lines: &Receiver<Heard>, said: &mut Said, on_line: &mut impl FnMut(&str)) -> bool {
    use std::sync::mpsc::TryRecvError;
    loop {
        match lines.try_recv() {
            Ok(heard) => said.hear(heard, on_line),
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => return true,
        }
    }
}

/// One reader per stream; the queue closes when both are at their end.
fn listen(child: &mut Child) -> Receiver<Heard> {
    let (sender, receiver) = sync_channel(QUEUE);
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || read_lines(stdout, || Stream::Out, &sender));
    }
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || read_lines(stderr, || Stream::Err, &sender));
    }
    receiver
}

fn read_lines(stream: impl Read, which: impl Fn() -> Stream, sender: &SyncSender<Heard>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        // A progress bar redraws its line for ever without an end; the limit keeps that out of memory.
        match reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if sender.send((which(), line)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_stdout_and_shows_both_streams() {
        let mut lines = Vec::new();
        let script = "echo one; echo two >&2; echo three";
        let output = Tool::new("sh")
            .args(["-c", script])
            .run(|line| lines.push(line.to_owned()));

        assert_eq!(output.expect("it succeeds").stdout, "one\nthree\n");
        lines.sort();
        assert_eq!(lines, ["one", "three", "two"]);
    }

    #[test]
    fn a_line_without_an_end_is_shown_in_parts_and_kept_whole() {
        let mut parts = 0;
        let long = "head -c 200000 /dev/zero | tr '\\0' x; printf 'é'";
        let output = Tool::new("sh").args(["-c", long]).run(|_| parts += 1);

        let stdout = output.expect("it succeeds").stdout;
        assert_eq!((stdout.len(), stdout.lines().count()), (200_002, 1));
        assert!(parts > 1);
    }

    #[test]
    fn a_failure_says_what_was_run_and_its_last_words() {
        let failed = Tool::new("sh")
            .args(["-c", "echo no space left >&2; exit 3"])
            .output();

        let report = failed.expect_err("it fails").report();
        assert!(report.contains("exit status: 3"), "{report}");
        assert!(report.contains("| no space left"), "{report}");
    }

    #[test]
    fn a_missing_program_has_a_hint() {
        let missing = Tool::new("no-such-program-of-ours")
            .output()
            .expect_err("it cannot start");
        assert!(missing.report().contains("hint: install"), "{}", missing.report());
    }

    #[test]
    fn a_hang_ends_at_the_limit() {
        let started = Instant::now();
        let hung = Tool::new("sleep")
            .arg("60")
            .limit(Duration::from_millis(200))
            .output();

        assert!(
            hung.expect_err("it is killed")
                .to_string()
                .contains("did not end")
        );
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_limit_ends_grandchildren_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let script = "sleep 47 & echo $! >pid; wait";
        let hung = Tool::new("sh")
            .args(["-c", script])
            .dir(dir.path())
            .limit(Duration::from_millis(500))
            .output();

        assert!(hung.is_err());
        let pid = std::fs::read_to_string(dir.path().join("pid")).expect("it was started");
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // It is gone, or a zombie that nobody has reaped yet, as soon as the kernel has delivered the kill.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !(stat().is_empty() || stat().contains(") Z ")) {
            assert!(Instant::now() < deadline, "{}", stat());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_grandchild_that_keeps_the_pipe_does_not_keep_us() {
        let started = Instant::now();
        let output = Tool::new("sh").args(["-c", "sleep 30 & echo started"]).output();

        assert_eq!(output.expect("the parent ended well").stdout, "started\n");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
