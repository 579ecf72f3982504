//! The host's end: everything a manager can do to a container, on one link.
//!
//! [`Link`] is a cheap handle; the connection is owned by one task, which ends when the link is closed by either end or
//! when the last handle (and the last process or transfer that holds one) is gone.

mod call;
mod copy;
mod process;
mod tunnel;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::{
    error::{ErrorKind, LinkError, Result},
    mux::{self, Opener, Side, Term},
    process::{ProcessId, ProcessInfo, Signal, SpawnSpec, Spawned, WindowSize, WriteOutcome},
    transfer::{CopyInOptions, CopyOutOptions},
    wire::{
        frame::Kind,
        message::{MAX_DOORS, MAX_KEYED_WRITE, Request},
        preface::{self, Hello, PROTOCOL_VERSION, Welcome},
    },
};

pub use crate::wire::message::{Door, Health};
use call::Call;
pub use copy::{CopyIn, CopyOut};
pub use process::{Process, ProcessReader, ProcessWriter};
pub use tunnel::{Tunnel, Tunnels};

/// How patient a link is.
#[derive(Clone, Copy, Debug)]
pub struct LinkOptions {
    /// For the other end's hello.
    pub hello_timeout: Duration,
    /// For the first answer to a request.
    pub request_timeout: Duration,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            hello_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// The one way into a container.
#[derive(Clone, Debug)]
pub struct Link {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    hello: Hello,
    opener: Opener,
    options: LinkOptions,
}

impl Link {
    /// Exchanges greetings over `io` and starts the task that owns the link.
    ///
    /// # Errors
    /// `Timeout` without a hello in time, `UnsupportedVersion`, `Protocol`, `Closed`.
    pub async fn establish<IO>(mut io: IO, options: LinkOptions) -> Result<(Self, Tunnels)>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let greet = async {
            preface::send(
                &mut io,
                &Welcome {
                    protocol: PROTOCOL_VERSION,
                },
            )
            .await?;
            preface::receive::<_, Hello>(&mut io).await
        };
        let late = |_elapsed| {
            LinkError::new(
                ErrorKind::Timeout,
                "establish",
                "the container's init did not say hello",
            )
        };
        let hello = timeout(options.hello_timeout, greet).await.map_err(late)??;
        hello.check()?;
        let (opener, incoming, driver) = mux::multiplex(io, Side::Host);
        // Both tasks end with the link: the driver when it closes, the other when the driver stops handing out streams.
        drop(tokio::spawn(driver.run()));
        let tunnels = Tunnels::start(incoming);
        Ok((
            Self {
                inner: Arc::new(Inner {
                    hello,
                    opener,
                    options,
                }),
            },
            tunnels,
        ))
    }

    /// What the other end said of itself.
    pub fn hello(&self) -> &Hello {
        &self.inner.hello
    }

    /// Asks init for an answer and says how long it took.
    ///
    /// # Errors
    /// `Closed`, `Timeout`, `Protocol`; so for every method here.
    pub async fn ping(&self) -> Result<Duration> {
        let start = tokio::time::Instant::now();
        self.ask::<()>(Request::Ping).await?;
        Ok(start.elapsed())
    }

    /// How the container is doing.
    ///
    /// # Errors
    /// See [`Link::ping`].
    pub async fn health(&self) -> Result<Health> {
        self.ask(Request::Health).await
    }

    /// Opens loopback listeners in the container, or takes over those that are open: from now on this link gets their
    /// connections, until a newer one opens the same doors or this one closes.
    ///
    /// # Errors
    /// `InvalidArgument` for an illegal name, `PortInUse`, `Conflict` if a door of that name has another port.
    pub async fn open_doors(&self, doors: Vec<Door>) -> Result<()> {
        if doors.len() > MAX_DOORS
            || !doors
                .iter()
                .all(|door| Door::legal_name(&door.name) && door.port != 0)
        {
            return Err(LinkError::invalid(
                "open_doors",
                "a door has a name of 1 to 64 of `a-z 0-9 -` and a port; there are at most 32",
            ));
        }
        self.ask(Request::OpenDoors { doors }).await
    }

    /// Starts a program and reads on, in one round trip. If the id exists, nothing is started and its output is read
    /// from the beginning.
    ///
    /// A program that cannot be started is no error: its exit says so.
    ///
    /// # Errors
    /// `InvalidArgument` for what no system takes, `LimitReached` for too many processes.
    pub async fn run(&self, spec: SpawnSpec) -> Result<Process> {
        process::check(&spec)?;
        let id = spec.id.clone();
        let call = self.call(Request::Run { spec }, Term::Long).await?;
        Process::started(self.clone(), id, 0, call).await
    }

    /// Starts a program that nobody reads yet. If the id exists, nothing is started.
    ///
    /// # Errors
    /// See [`Link::run`].
    pub async fn spawn(&self, spec: SpawnSpec) -> Result<Spawned> {
        process::check(&spec)?;
        self.ask(Request::Spawn { spec }).await
    }

    /// Reads a process from offset `from` on: every byte once, a gap for those that are gone, then its end.
    ///
    /// # Errors
    /// `NoSuchProcess`; `InvalidArgument` if `from` is beyond its output.
    pub async fn attach(&self, id: &ProcessId, from: u64) -> Result<Process> {
        let call = self
            .call(Request::Attach { id: id.clone(), from }, Term::Long)
            .await?;
        Process::started(self.clone(), id.clone(), from, call).await
    }

    /// Writes `bytes` to a process's input exactly once, however often it is asked with the same `key`. Keys of a
    /// process only rise, so one caller writes at a time. Waits as long as the process does not read.
    ///
    /// # Errors
    /// `NoSuchProcess`, `StdinClosed`, `InvalidArgument` for more than 16 MiB. After `Closed`, ask again with the same key.
    pub async fn write_stdin(&self, id: &ProcessId, key: u64, bytes: Bytes) -> Result<WriteOutcome> {
        if bytes.len() > MAX_KEYED_WRITE {
            return Err(LinkError::invalid(
                "write_stdin",
                "at most 16 MiB are written with one key",
            ));
        }
        let request = Request::WriteStdin {
            id: id.clone(),
            key,
            length: bytes.len() as u64,
        };
        let mut call = self.call(request, Term::Long).await?;
        call.send_bulk(Kind::Stdin, &bytes).await?;
        call.reply().await
    }

    /// Ends a process's input, after all that was written before.
    ///
    /// # Errors
    /// `NoSuchProcess`.
    pub async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        self.ask(Request::CloseStdin { id: id.clone() }).await
    }

    /// Sends a signal to a process and all it started, wherever that went. `Kill` returns when nothing of it is left.
    /// A process that has ended takes any signal.
    ///
    /// # Errors
    /// `NoSuchProcess`.
    pub async fn signal(&self, id: &ProcessId, signal: Signal) -> Result<()> {
        self.ask(Request::Signal {
            id: id.clone(),
            signal,
        })
        .await
    }

    /// Gives a process's terminal another size, and tells the program in its foreground. One that has ended takes any.
    ///
    /// # Errors
    /// `NoSuchProcess`; `InvalidArgument` if it has no terminal.
    pub async fn resize(&self, id: &ProcessId, size: WindowSize) -> Result<()> {
        self.ask(Request::Resize { id: id.clone(), size }).await
    }

    /// Says that output before `upto` was handled: it need not be kept.
    ///
    /// # Errors
    /// `NoSuchProcess`.
    pub async fn acknowledge(&self, id: &ProcessId, upto: u64) -> Result<()> {
        self.ask(Request::Acknowledge { id: id.clone(), upto }).await
    }

    /// Ends a process if it runs and forgets its id, output and end. Forgetting twice is no error.
    ///
    /// # Errors
    /// See [`Link::ping`].
    pub async fn forget(&self, id: &ProcessId) -> Result<()> {
        self.ask(Request::Forget { id: id.clone() }).await
    }

    /// All processes that were started and not forgotten.
    ///
    /// # Errors
    /// See [`Link::ping`].
    pub async fn processes(&self) -> Result<Vec<ProcessInfo>> {
        self.ask(Request::Processes).await
    }

    /// Unpacks a tar stream beneath the directory `dest`, which is made if absent.
    ///
    /// # Errors
    /// `PermissionDenied` and the like if `dest` cannot be made.
    pub async fn copy_in(&self, dest: &str, options: CopyInOptions) -> Result<CopyIn> {
        let call = self
            .call(
                Request::CopyIn {
                    dest: dest.to_owned(),
                    options,
                },
                Term::Long,
            )
            .await?;
        CopyIn::accepted(self.clone(), call).await
    }

    /// Packs a file or directory as a tar stream. Entries of a directory are named relative to it.
    ///
    /// # Errors
    /// `NotFound` and the like if `path` cannot be opened.
    pub async fn copy_out(&self, path: &str, options: CopyOutOptions) -> Result<CopyOut> {
        let call = self
            .call(
                Request::CopyOut {
                    path: path.to_owned(),
                    options,
                },
                Term::Long,
            )
            .await?;
        CopyOut::accepted(self.clone(), call).await
    }

    /// Waits until the link is closed, by whichever end.
    pub async fn closed(&self) {
        self.inner.opener.ending().done().await;
    }

    /// Whether the link is closed.
    pub fn is_closed(&self) -> bool {
        self.inner.opener.ending().is_done()
    }

    /// Closes the link and waits until it is. What runs in the container runs on or ends, as its spec says.
    pub async fn close(&self) {
        let ending = self.inner.opener.ending();
        ending.ask();
        ending.done().await;
    }

    async fn call(&self, request: Request, term: Term) -> Result<Call> {
        let limit = self.inner.options.request_timeout;
        let operation = request.operation();
        let call = Call::start(&self.inner.opener, &request, term, limit);
        timeout(limit, call)
            .await
            .map_err(|_elapsed| call::late(operation))?
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        self.call(request, Term::Short).await?.first_reply().await
    }
}
