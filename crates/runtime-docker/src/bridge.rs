//! The `bridge` carrier: an exec of `session-init bridge` as one byte stream.
//!
//! The engine multiplexes standard output and error of an exec; the output is the stream, the error output is kept, cut
//! to a bounded length, for the case that the stream ends before it began.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bollard::container::LogOutput;
use bollard::errors::Error as EngineError;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::{Buf, Bytes};
use futures::Stream;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ContainerName;
use session_core::runtime::{BoxedByteStream, ContainerSpec};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::Handles;
use crate::error::{About, failed, line};

const OPERATION: &str = "open a bridge to the container";
/// The engine frames what it reads in pieces of 32 KiB.
const BUFFER: usize = 64 << 10;
const MAX_COMPLAINT: usize = 1024;

/// Opens a fresh stream to the `session-init` of a container that runs.
pub(crate) async fn bridge(engine: &Handles, name: &ContainerName) -> Result<BoxedByteStream> {
    let fail = |error| failed(OPERATION, About::Container(name.as_str()), error);
    // No user is named: the container's own is used, which the launch has set.
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        privileged: Some(false),
        cmd: Some(command(name)),
        ..ExecConfig::default()
    };
    let exec = engine
        .slow
        .create_exec(name.as_str(), config)
        .await
        .map_err(fail)?;
    let options = StartExecOptions {
        detach: false,
        tty: false,
        output_capacity: Some(BUFFER),
    };
    fail::fail_point!("docker.bridge.made", |_| session_core::fault::engine(OPERATION));
    match engine
        .slow
        .start_exec(&exec.id, Some(options))
        .await
        .map_err(fail)?
    {
        StartExecResults::Attached { output, input } => Ok(Box::new(Bridge::new(output, input))),
        StartExecResults::Detached => Err(Error::new(
            ErrorKind::EngineFailed,
            OPERATION,
            "the engine did not attach",
        )),
    }
}

/// The session's id tells `session-init` from another one on the same network.
fn command(name: &ContainerName) -> Vec<String> {
    let mut command = vec![
        format!("{}/bin/session-init", ContainerSpec::TOOLBOX_DIR),
        "bridge".to_owned(),
    ];
    if let Some(session) = ContainerName::session(name.as_str()) {
        command.extend(["--session".to_owned(), session.to_string()]);
    }
    command
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, EngineError>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Both directions of an exec. Dropping it closes the exec's standard input, at which `session-init bridge` ends.
struct Bridge {
    output: Output,
    input: Input,
    unread: Bytes,
    began: bool,
    complaint: Vec<u8>,
}

impl Bridge {
    fn new(output: Output, input: Input) -> Self {
        Self {
            output,
            input,
            unread: Bytes::new(),
            began: false,
            complaint: Vec::new(),
        }
    }

    fn complain(&mut self, text: &[u8]) {
        let room = MAX_COMPLAINT - self.complaint.len();
        self.complaint
            .extend_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
    }

    /// The end of the output; an error when nothing but complaints came.
    fn end(&mut self) -> io::Result<()> {
        if self.began || self.complaint.is_empty() {
            return Ok(());
        }
        let complaint = std::mem::take(&mut self.complaint);
        Err(io::Error::other(format!(
            "session-init bridge did not begin: {}",
            line(&String::from_utf8_lossy(&complaint))
        )))
    }
}

impl AsyncRead for Bridge {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            match ready!(this.output.as_mut().poll_next(context)) {
                None => return Poll::Ready(this.end()),
                Some(Ok(LogOutput::StdOut { message })) => {
                    this.began = true;
                    this.unread = message;
                }
                Some(Ok(LogOutput::StdErr { message } | LogOutput::Console { message })) => {
                    this.complain(&message)
                }
                Some(Ok(LogOutput::StdIn { .. })) => {}
                Some(Err(EngineError::IOError { err })) => return Poll::Ready(Err(err)),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let part = this.unread.len().min(buffer.remaining());
        buffer.put_slice(this.unread.get(..part).unwrap_or_default());
        this.unread.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bridge {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.input.as_mut().poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.input.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn bridge(parts: Vec<Result<LogOutput, EngineError>>) -> Bridge {
        Bridge::new(
            Box::pin(futures::stream::iter(parts)),
            Box::pin(tokio::io::sink()),
        )
    }

    fn out(text: &'static str) -> Result<LogOutput, EngineError> {
        Ok(LogOutput::StdOut {
            message: Bytes::from_static(text.as_bytes()),
        })
    }

    fn err(text: String) -> Result<LogOutput, EngineError> {
        Ok(LogOutput::StdErr { message: text.into() })
    }

    #[test]
    fn the_bridge_is_to_the_session_of_the_container() {
        let session = session_core::id::SessionId::new();
        let command = command(&ContainerName::of(&session));
        assert_eq!(command[1..], ["bridge", "--session", &session.to_string()]);
    }

    #[tokio::test]
    async fn output_is_the_stream_and_complaints_are_not() {
        let mut bridge = bridge(vec![out("ab"), err("warning".to_owned()), out(""), out("cd")]);
        let mut text = String::new();
        bridge.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "abcd");
    }

    #[tokio::test]
    async fn a_stream_that_never_began_says_why_on_one_bounded_line() {
        let mut bridge = bridge(vec![err("no such\nfile".to_owned()), err("x".repeat(1 << 20))]);
        let error = bridge.read_to_end(&mut Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains("no such file"), "{error}");
        assert!(error.len() < 2 * MAX_COMPLAINT);
    }

    #[tokio::test]
    async fn a_broken_connection_is_an_error() {
        let reset = EngineError::IOError {
            err: io::ErrorKind::ConnectionReset.into(),
        };
        let mut bridge = bridge(vec![out("ab"), Err(reset)]);
        let error = bridge.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
