//! The one task of a process: moves what it writes to the spool, keeps its limits, and finds out how it ended.

use std::{os::fd::OwnedFd, rc::Rc, time::Duration};

use futures::future::LocalBoxFuture;
use session_link::{ExitCause, ExitReport, OutputStream, SpawnSpec, wire::frame::HEADER};
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    time::{Instant, sleep_until},
};

use super::{
    Process,
    source::{Reports, Source},
    spawn::Handles,
    supervise::{Refusal, Report},
};
use crate::{cgroup::Cgroup, spool::Chunk};

/// How long a command's pipes must be quiet before its end is told, when something it left behind holds them open.
const QUIET: Duration = Duration::from_millis(50);

/// How long what it left behind can hold up the news by never being quiet.
const LOUD: Duration = Duration::from_millis(500);

const SIGKILL: i32 = 9;

/// How the command itself ended.
#[derive(Clone, Copy, Debug)]
struct End {
    code: Option<i32>,
    signal: Option<i32>,
    cause: ExitCause,
    at: Instant,
}

pub(super) struct Pump {
    process: Rc<Process>,
    cgroup: Rc<Cgroup>,
    oom_kills: u64,
    began: Instant,
    reports: Reports,
    stdout: Source,
    stderr: Source,
    /// The program's end of its terminal, until it ended.
    held: Option<OwnedFd>,
    time_limit: Option<Instant>,
    output_left: Option<u64>,
    end: Option<End>,
    quiet_at: Option<Instant>,
    killing: Option<LocalBoxFuture<'static, ()>>,
}

impl Pump {
    /// Gives the supervisor its command and sees it through, until nothing of it can write any more.
    pub(super) async fn run(process: Rc<Process>, cgroup: Rc<Cgroup>, spec: SpawnSpec, handles: Handles) {
        let Handles {
            mut control,
            stdout,
            stderr,
            held,
            ..
        } = handles;
        let oom_kills = cgroup.oom_kills().unwrap_or_default();
        // A supervisor that is gone already says so below by saying nothing.
        let _ = hand_over(&mut control, &spec).await;
        let began = Instant::now();
        let pump = Self {
            process,
            cgroup,
            oom_kills,
            began,
            reports: Reports::new(control),
            stdout: Source::new(stdout),
            stderr: Source::new(stderr),
            held,
            time_limit: spec.time_limit.and_then(|limit| began.checked_add(limit)),
            output_left: spec.output_limit,
            end: None,
            quiet_at: None,
            killing: None,
        };
        drop(spec);
        pump.drive().await;
    }

    async fn drive(mut self) {
        while self.reports.is_open() || self.stdout.is_open() || self.stderr.is_open() || !self.told() {
            let reads = !self.process.must_wait();
            let time_limit = self.time_limit.filter(|_| self.end.is_none());
            let being_ended = self.being_ended();
            let quiet_at = self.quiet_at.filter(|_| !self.told() && !being_ended);
            // Each arm is cancel-safe: sources, reports and the killing keep their progress in `self`, a permit of `room`
            // that is not taken stays, and the moments are absolute.
            tokio::select! {
                report = self.reports.next(), if self.reports.is_open() => self.reported(report),
                got = self.stdout.fill(), if reads && self.stdout.is_open() => self.filled(OutputStream::Stdout, got),
                got = self.stderr.fill(), if reads && self.stderr.is_open() => self.filled(OutputStream::Stderr, got),
                () = self.process.room.notified(), if !reads || being_ended => {}
                () = moment(time_limit), if time_limit.is_some() => self.kill(ExitCause::TimedOut),
                () = moment(quiet_at), if quiet_at.is_some() => self.tell(),
                () = finish(&mut self.killing), if self.killing.is_some() => self.killing = None,
            }
            if self.end.is_some() && !self.being_ended() && !self.stdout.is_open() && !self.stderr.is_open() {
                self.tell();
            }
        }
        // What was being ended is gone, or the kernel holds it.
        finish(&mut self.killing).await;
    }

    fn being_ended(&self) -> bool {
        self.killing.is_some() || self.process.endings.get() > 0
    }

    fn told(&self) -> bool {
        self.process.exit.borrow().is_some()
    }

    fn reported(&mut self, report: Option<Report>) {
        match report {
            Some(Report::Started { pid }) => {
                self.process.pid.set(Some(pid));
                self.mark_started();
            }
            Some(Report::Failed(refusal)) => {
                let (code, cause) = match refusal {
                    Refusal::NotFound => (127, ExitCause::NotFound),
                    Refusal::NotExecutable => (126, ExitCause::NotExecutable),
                    Refusal::BadWorkingDirectory => (126, ExitCause::BadWorkingDirectory),
                    Refusal::Exhausted | Refusal::TooLong => {
                        self.process.refused.set(Some(refusal));
                        (126, ExitCause::NotExecutable)
                    }
                };
                self.ended(Some(code), None, cause);
            }
            Some(Report::Exited(code)) => self.ended(Some(code), None, ExitCause::Exited),
            Some(Report::Killed(signal)) => self.ended(None, Some(signal), ExitCause::Signaled),
            None => self.ended(None, None, ExitCause::SupervisorLost),
        }
    }

    fn mark_started(&self) {
        self.process.started.set(true);
        self.process.changed.notify_waiters();
    }

    /// Keeps the first end that is heard of.
    fn ended(&mut self, code: Option<i32>, signal: Option<i32>, cause: ExitCause) {
        if self.end.is_some() {
            return;
        }
        self.held = None;
        // The kernel may take the supervisor instead of what it started: both have the same score.
        let killed = signal == Some(SIGKILL) || matches!(cause, ExitCause::SupervisorLost);
        let out_of_memory = killed && self.new_oom_kills() > 0;
        let cause = match self.process.ended_for.get() {
            // A refusal is one whoever wanted it ended meanwhile.
            Some(wanted)
                if matches!(
                    cause,
                    ExitCause::Signaled | ExitCause::Exited | ExitCause::SupervisorLost
                ) =>
            {
                wanted
            }
            None if out_of_memory => ExitCause::OutOfMemory,
            _ => cause,
        };
        let at = Instant::now();
        self.end = Some(End {
            code,
            signal,
            cause,
            at,
        });
        self.quiet_at = Some(at + QUIET);
    }

    fn new_oom_kills(&self) -> u64 {
        self.cgroup
            .oom_kills()
            .unwrap_or_default()
            .saturating_sub(self.oom_kills)
    }

    /// Tells the end, once.
    fn tell(&mut self) {
        let Some(end) = self.end.filter(|_| !self.told()) else {
            return;
        };
        let report = ExitReport {
            code: end.code,
            signal: end.signal,
            cause: end.cause,
            duration: end.at - self.began,
            oom_kills: self.new_oom_kills(),
        };
        self.process.exit.replace(Some(report));
        self.process.stdin.close();
        self.mark_started();
    }

    fn filled(&mut self, stream: OutputStream, got: bool) {
        let source = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        if !got {
            return;
        }
        let mut buffer = source.take();
        let length = (buffer.len() - HEADER) as u64;
        let kept = self.output_left.map_or(length, |left| left.min(length));
        if let Some(left) = &mut self.output_left {
            *left -= kept;
        }
        if kept > 0 {
            buffer.truncate(HEADER + usize::try_from(kept).unwrap_or(usize::MAX));
            let offset = self.process.spool.borrow().end();
            self.process.append(Chunk::new(buffer, stream, offset));
        }
        if kept < length {
            self.kill(ExitCause::OutputLimit);
        }
        if let Some(end) = self.end {
            self.quiet_at = Some((Instant::now() + QUIET).min(end.at + LOUD));
        }
    }

    fn kill(&mut self, cause: ExitCause) {
        self.time_limit = None;
        if self.killing.is_none() {
            let process = self.process.clone();
            self.killing = Some(Box::pin(async move { process.end(cause).await }));
        }
    }
}

async fn finish(future: &mut Option<LocalBoxFuture<'static, ()>>) {
    if let Some(future) = future {
        future.await;
    }
}

async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn hand_over(control: &mut UnixStream, spec: &SpawnSpec) -> std::io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, spec)?;
    let length = u32::try_from(bytes.len() - 4).map_err(std::io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    control.write_all(&bytes).await
}
