//! The task that owns one program: it carries bytes between a stream and the link, and ends the program.
//!
//! Every buffer on the way is bounded, and a full one makes its writer wait: a program that floods is not read until
//! somebody reads its stream, one that does not read makes its stream's writer wait, and neither holds up the link, whose
//! streams have windows of their own. Only standard error waits for nobody: what is not read in time is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt, stream};
use session_link::{
    ExitReport, Link, OutputStream, Process, ProcessEvent, ProcessReader, ProcessWriter, Signal,
};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::driver::describe_exit;
use crate::gateway::RunningProgram;

/// What is on its way between the stream and the link, in each direction.
const PIPE: usize = 64 << 10;
/// Pieces of standard error that wait for a reader.
const STDERR_PIECES: usize = 64;
/// The longest piece of standard error that is kept.
const STDERR_PIECE: usize = 4 << 10;

/// See the module.
pub(super) struct Owner {
    link: Link,
    reader: ProcessReader,
    writer: ProcessWriter,
    input: ReadHalf<DuplexStream>,
    output: Output,
    ended: oneshot::Sender<String>,
    /// Cancelled when nobody holds the stream any more.
    dropped: CancellationToken,
}

struct Output {
    stdout: WriteHalf<DuplexStream>,
    stderr: mpsc::Sender<Bytes>,
}

/// How the carrying ended.
enum End {
    Exited(ExitReport),
    /// The program may run still: its link was lost, or what it said has a gap.
    Broken(String),
    Unwanted,
}

/// The handle of a program, and the owner that has to be run.
pub(super) fn own(link: Link, process: Process) -> (RunningProgram, Owner) {
    let (theirs, ours) = tokio::io::duplex(PIPE);
    let (input, stdout) = tokio::io::split(ours);
    let (stderr, pieces) = mpsc::channel(STDERR_PIECES);
    let (ended, told) = oneshot::channel();
    let dropped = CancellationToken::new();
    let (reader, writer) = process.into_split();
    let running = RunningProgram {
        stream: Box::new(Stream {
            io: theirs,
            _dropped: dropped.clone().drop_guard(),
        }),
        stderr: stream::unfold(pieces, |mut pieces| async move {
            let piece = pieces.recv().await?;
            Some((piece, pieces))
        })
        .boxed(),
        ended: told
            .map(|told| told.unwrap_or_else(|_| "nobody looked after it any more".to_owned()))
            .boxed(),
    };
    let owner = Owner {
        link,
        reader,
        writer,
        input,
        output: Output { stdout, stderr },
        ended,
        dropped,
    };
    (running, owner)
}

impl Owner {
    /// Carries bytes until the program ends or is not wanted any more, and returns when nothing of it is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let end = tokio::select! {
            biased;
            // Whatever is lost with the other arms is of a program that ends.
            () = self.dropped.cancelled() => End::Unwanted,
            () = stop.cancelled() => End::Unwanted,
            end = self.output.carry(&mut self.reader) => end,
            never = feed(&mut self.input, &self.writer) => match never {},
        };
        let id = self.reader.id();
        if !matches!(end, End::Exited(_))
            && let Err(error) = self.link.signal(id, Signal::Kill).await
        {
            tracing::debug!(process = %id, %error, "a program could not be ended; it ends with its link");
        }
        if let Err(error) = self.link.forget(id).await {
            tracing::debug!(process = %id, %error, "a program could not be forgotten");
        }
        let how = match &end {
            End::Exited(report) => describe_exit(report),
            End::Broken(how) => how.clone(),
            End::Unwanted => "it was ended because nobody wanted it any more".to_owned(),
        };
        tracing::debug!(process = %id, how, "a program of the gateway has ended");
        // Before the stream says so: whoever sees its end can ask for the reason at once.
        let _ = self.ended.send(how);
        let _ = self.output.stdout.shutdown().await;
    }
}

impl Output {
    /// Both streams of the program, until it ends or nobody can be told any more.
    async fn carry(&mut self, reader: &mut ProcessReader) -> End {
        loop {
            match reader.next().await {
                Ok(Some(ProcessEvent::Output { stream, bytes, .. })) => match stream {
                    OutputStream::Stdout => {
                        if self.stdout.write_all(&bytes).await.is_err() {
                            return End::Unwanted;
                        }
                    }
                    OutputStream::Stderr => self.stderr(&bytes),
                },
                Ok(Some(ProcessEvent::Gap { from, to })) => {
                    return End::Broken(format!(
                        "{} bytes of what it said were lost",
                        to.saturating_sub(from)
                    ));
                }
                Ok(Some(ProcessEvent::Exited(report))) => return End::Exited(report),
                Ok(None) => return End::Broken("nothing more came from it".to_owned()),
                Err(error) => {
                    return End::Broken(format!("its container cannot be reached any more: {error}"));
                }
            }
        }
    }

    /// A copy, so that a short piece that waits does not keep the whole frame in which it came.
    fn stderr(&self, bytes: &[u8]) {
        for piece in bytes.chunks(STDERR_PIECE) {
            let _ = self.stderr.try_send(Bytes::copy_from_slice(piece));
        }
    }
}

/// What is written to the stream, to the program's input; its end, too. Never ends: the program decides when it does.
async fn feed(input: &mut ReadHalf<DuplexStream>, writer: &ProcessWriter) -> std::convert::Infallible {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIPE);
        match input.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                if writer.write(buffer.split().freeze()).await.is_err() {
                    break;
                }
            }
        }
    }
    // One that cannot be told has no link, and its reader says so.
    let _ = writer.close_stdin().await;
    std::future::pending().await
}

/// The stream as the gateway holds it. Unlike the end of its input, dropping it ends the program.
struct Stream {
    io: DuplexStream,
    _dropped: DropGuard,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
