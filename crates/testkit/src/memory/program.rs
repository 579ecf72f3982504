//! Programs: closures that run in a container as processes do, with arguments, an environment, streams and signals.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use session_core::id::SessionId;
use session_link::mux::MuxStream;
use session_link::{ExitCause, OutputStream, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, mpsc};

use super::container::Container;
use super::process::{Doom, Process, Terminal};

/// A program, ready to be run any number of times.
pub(super) type Program = Arc<dyn Fn(Context) -> BoxFuture<'static, Exit> + Send + Sync>;

/// How a program ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal that it sent itself.
    Signal(i32),
}

impl Exit {
    /// The code of success.
    pub const OK: Self = Self::Code(0);
}

/// What a program finds when it starts.
#[derive(Debug)]
pub struct Context {
    /// Its argument vector, bytes as they came.
    pub argv: Vec<OsString>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Its working directory, as seen inside.
    pub cwd: String,
    /// What it reads.
    pub stdin: Input,
    /// Where it writes.
    pub stdout: Output,
    /// Where it complains.
    pub stderr: Output,
    /// The container around it.
    pub machine: Machine,
}

impl Context {
    /// The arguments after the program's name, lossily decoded.
    pub fn args(&self) -> Vec<String> {
        self.argv
            .iter()
            .skip(1)
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect()
    }

    /// The path of the host behind `path`, read as this program would.
    pub fn host_path(&self, path: &str) -> PathBuf {
        self.machine.container.files().host_path(&self.cwd, path)
    }

    /// The same, if it can be written.
    ///
    /// # Errors
    /// `ReadOnlyFilesystem`.
    pub fn writable(&self, path: &str) -> io::Result<PathBuf> {
        self.machine.container.files().writable(&self.cwd, path)
    }
}

/// A program's standard input.
pub struct Input {
    pipe: Option<BufReader<Box<dyn AsyncRead + Send + Sync + Unpin>>>,
    line: Vec<u8>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl Input {
    pub(super) fn new(pipe: impl AsyncRead + Send + Sync + Unpin + 'static) -> Self {
        Self {
            pipe: Some(BufReader::new(Box::new(pipe))),
            line: Vec::new(),
        }
    }

    pub(super) fn empty() -> Self {
        Self {
            pipe: None,
            line: Vec::new(),
        }
    }

    /// The next line without its end, `None` at the end of input. Cancel-safe: what was read of a line is kept.
    pub async fn line(&mut self) -> Option<Vec<u8>> {
        let read = self.pipe.as_mut()?.read_until(b'\n', &mut self.line).await.ok()?;
        if read == 0 && self.line.is_empty() {
            return None;
        }
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Some(line)
    }

    /// Everything up to the end.
    pub async fn to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.read_to_end(&mut all).await;
        all
    }
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.pipe {
            Some(pipe) => Pin::new(pipe).poll_read(cx, target),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Where a program writes: one of its process's two streams, or where a shell led it.
#[derive(Debug, Clone)]
pub struct Output(Sink);

#[derive(Debug, Clone)]
enum Sink {
    Stream(Arc<Process>, OutputStream),
    Terminal(Arc<Mutex<pipe::Sender>>),
    File(Arc<File>),
    Null,
}

impl Output {
    pub(super) fn new(process: Arc<Process>, stream: OutputStream) -> Self {
        Self(Sink::Stream(process, stream))
    }

    pub(super) fn terminal(end: pipe::Sender) -> Self {
        Self(Sink::Terminal(Arc::new(Mutex::new(end))))
    }

    pub(super) fn file(file: File) -> Self {
        Self(Sink::File(Arc::new(file)))
    }

    pub(super) fn null() -> Self {
        Self(Sink::Null)
    }

    /// Writes; waits while somebody reads and does not keep up, and for ever past the output limit.
    pub async fn write(&self, bytes: impl Into<Bytes>) {
        match &self.0 {
            Sink::Stream(process, stream) => process.write(*stream, bytes.into()).await,
            // As for a program that does not look at what `write` returns.
            Sink::Terminal(end) => drop(end.lock().await.write_all(&bytes.into()).await),
            Sink::File(file) => drop((&**file).write_all(&bytes.into())),
            Sink::Null => {}
        }
    }

    /// Writes a line.
    pub async fn line(&self, text: impl std::fmt::Display) {
        self.write(format!("{text}\n")).await;
    }
}

/// The container as a program can reach it.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) container: Arc<Container>,
    process: Arc<Process>,
}

impl Machine {
    pub(super) fn new(container: Arc<Container>, process: Arc<Process>) -> Self {
        Self { container, process }
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.container.session()
    }

    /// The program's own process id.
    pub fn pid(&self) -> u32 {
        self.process.pid.unwrap_or_default()
    }

    /// The program's terminal, if it has one.
    pub(super) fn terminal(&self) -> Option<&Terminal> {
        self.process.terminal()
    }

    /// From now on signals other than those that no program can handle arrive here instead of ending the program.
    pub fn handle_signals(&self) -> mpsc::Receiver<Signal> {
        self.process.handle_signals()
    }

    /// The kernel kills this program for lack of memory. Never returns.
    pub async fn out_of_memory(&self) {
        self.container.count_oom_kill();
        self.process.doom(Doom::Killed(ExitCause::OutOfMemory));
        std::future::pending().await
    }

    /// Connects to a loopback port: one of the session's doors.
    ///
    /// # Errors
    /// `ConnectionRefused` when nothing listens there, `ConnectionReset` when no link takes the connection.
    pub async fn dial(&self, port: u16) -> io::Result<MuxStream> {
        self.container.doors().dial(port).await
    }

    /// Sends a signal by number to a process of the container; PID 1 takes SIGTERM only, and ends everything.
    ///
    /// # Errors
    /// `NotFound` when there is no such process.
    pub async fn kill(&self, pid: u32, signal: i32) -> io::Result<()> {
        if pid == 1 {
            if signal == 15 {
                self.container.end(Some(0), false);
            }
            return Ok(());
        }
        let process = self
            .container
            .processes()
            .by_pid(pid)
            .ok_or(io::ErrorKind::NotFound)?;
        process.doom(Doom::Signal(signal));
        Ok(())
    }
}
