//! A script in a session: started by the link, read within bounds, judged by its end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use session_link::{
    ExitCause, ExitReport, Link, OnDisconnect, OutputStream, Process, ProcessEvent, ProcessId, SpawnSpec,
    StdinMode,
};

use crate::error::{Error, ErrorKind, Result};
use crate::link_error::from_link;
use crate::runtime::ContainerSpec;

/// After which time a script is ended.
const TIME_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How much of its complaints is told.
const MAX_COMPLAINT: usize = 1024;
/// What it may write beside what was asked for.
const SLACK: u64 = 64 << 10;
/// Under which key an error has the script's exit code.
const EXIT_CODE: &str = "exit_code";

/// A script that is to be run.
pub(super) struct Script {
    operation: &'static str,
    id: String,
    text: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    limit: Option<u64>,
    on_disconnect: OnDisconnect,
}

/// What a script wrote.
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
}

impl Script {
    pub(super) fn new(operation: &'static str, text: &str) -> Self {
        Self {
            operation,
            id: format!("tree-{:016x}", rand::random::<u64>()),
            text: text.to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            limit: None,
            on_disconnect: OnDisconnect::KeepRunning,
        }
    }

    /// Of two with this id, the second is the first.
    pub(super) fn id(self, id: String) -> Self {
        Self { id, ..self }
    }

    pub(super) fn args(self, args: impl IntoIterator<Item = String>) -> Self {
        let args = args.into_iter().collect();
        Self { args, ..self }
    }

    pub(super) fn env(self, env: BTreeMap<String, String>) -> Self {
        Self { env, ..self }
    }

    /// It is ended when it writes more.
    pub(super) fn limit(self, bytes: u64) -> Self {
        Self {
            limit: Some(bytes.saturating_add(SLACK)),
            ..self
        }
    }

    /// It ends with the link on which it was started.
    pub(super) fn ends_with_link(self) -> Self {
        Self {
            on_disconnect: OnDisconnect::Kill,
            ..self
        }
    }

    /// Runs it and keeps so many bytes of what it writes.
    pub(super) async fn run(self, link: &Link, limit: usize) -> Result<Output> {
        self.start(link).await?.collect(limit).await
    }

    /// The same with something to read.
    pub(super) async fn run_with_input(
        self,
        link: &Link,
        mut input: impl Stream<Item = Result<Bytes>> + Send + Unpin,
        limit: usize,
    ) -> Result<Output> {
        let operation = self.operation;
        let failed = |error| from_link(operation, error);
        let mut running = self.spawn(link, StdinMode::Piped).await?;
        while let Some(bytes) = input.next().await {
            // Dropped on an error, the script ends with its input, and finds half a patch.
            match bytes {
                Ok(bytes) => running.process.write(bytes).await.map_err(failed)?,
                Err(error) => {
                    let _ = running.process.signal(session_link::Signal::Kill).await;
                    return Err(error);
                }
            }
        }
        running.process.close_stdin().await.map_err(failed)?;
        running.collect(limit).await
    }

    pub(super) async fn start(self, link: &Link) -> Result<Running> {
        self.spawn(link, StdinMode::Null).await
    }

    async fn spawn(self, link: &Link, stdin: StdinMode) -> Result<Running> {
        let operation = self.operation;
        let failed = |error| from_link(operation, error);
        let id = ProcessId::new(self.id).map_err(failed)?;
        let argv = ["/bin/sh", "-c", &self.text, "cofferdam"].map(str::to_owned);
        let mut spec = SpawnSpec::new(id.clone(), argv.into_iter().chain(self.args));
        spec.env = vec![
            ("HOME".into(), ContainerSpec::HOME_DIR.into()),
            (
                "PATH".into(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            ),
            ("LC_ALL".into(), "C.UTF-8".into()),
        ];
        spec.env.extend(self.env);
        spec.cwd = Some("/".into());
        spec.stdin = stdin;
        spec.time_limit = Some(TIME_LIMIT);
        spec.output_limit = self.limit;
        spec.on_disconnect = self.on_disconnect;
        let process = link.run(spec).await.map_err(failed)?;
        Ok(Running {
            operation,
            link: link.clone(),
            id,
            process,
            complaint: Vec::new(),
            gap: false,
            ended: false,
        })
    }
}

/// A script that runs. Dropping it lets it run to its end, unread.
pub(super) struct Running {
    operation: &'static str,
    link: Link,
    id: ProcessId,
    process: Process,
    complaint: Vec<u8>,
    /// Whether something that it wrote is lost.
    pub(super) gap: bool,
    ended: bool,
}

impl Running {
    /// What it writes next; `None` when it has succeeded and everything that it wrote was read.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.ended {
            let event = self.process.next().await;
            match event.map_err(|error| from_link(self.operation, error))? {
                Some(ProcessEvent::Output {
                    stream: OutputStream::Stdout,
                    bytes,
                    ..
                }) => return Ok(Some(bytes)),
                Some(ProcessEvent::Output { bytes, .. }) => {
                    let room = MAX_COMPLAINT.saturating_sub(self.complaint.len());
                    self.complaint.extend_from_slice(&bytes[..room.min(bytes.len())]);
                }
                Some(ProcessEvent::Gap { .. }) => self.gap = true,
                Some(ProcessEvent::Exited(report)) => {
                    self.ended = true;
                    let _ = self.link.forget(&self.id).await;
                    self.judge(&report)?;
                }
                None => {
                    let message = "the end of a script was not reported";
                    return Err(Error::new(ErrorKind::LinkLost, self.operation, message));
                }
            }
        }
        Ok(None)
    }

    async fn collect(mut self, limit: usize) -> Result<Output> {
        let (mut kept, mut truncated) = (Vec::new(), false);
        while let Some(bytes) = self.next().await? {
            let room = limit.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
            truncated |= room < bytes.len();
        }
        Ok(Output {
            bytes: kept,
            truncated: truncated || self.gap,
        })
    }

    fn judge(&self, report: &ExitReport) -> Result<()> {
        if report.success() {
            return Ok(());
        }
        let error = |kind, message: &'static str| Error::new(kind, self.operation, message);
        Err(match (report.cause, report.code) {
            (ExitCause::TimedOut, _) => error(ErrorKind::LimitExceeded, "git in the session took too long")
                .with_context("limit_s", TIME_LIMIT.as_secs())
                .with_hint(
                    "look for a very large workspace, or for files in it that cannot be read to an end",
                ),
            (ExitCause::OutputLimit, _) => error(
                ErrorKind::LimitExceeded,
                "the session's changes are larger than what is kept",
            )
            .with_hint("have git ignore what can be made again, or copy the files out"),
            (_, Some(97 | 127)) => error(ErrorKind::Unsupported, "the session's image has no git")
                .with_hint("use an image with git and a shell, or copy the files out"),
            _ => error(ErrorKind::Internal, "git failed in the session")
                .with_context(EXIT_CODE, report.code.unwrap_or(-1))
                .with_context(
                    "said",
                    String::from_utf8_lossy(&self.complaint).trim().escape_debug(),
                ),
        })
    }
}

/// With which code the script ended that this error is about.
pub(super) fn exit_code(error: &Error) -> Option<i32> {
    let found = error.context().iter().find(|(key, _)| key == EXIT_CODE)?;
    found.1.parse().ok()
}
