//! The bytes of a running command, in both directions, with its user's signals.
//!
//! Output, input and signals are three loops that run side by side in one task: a reader of standard output that stalls
//! holds up the output alone, so that Ctrl-C still reaches the program.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Serialize;
use session_core::command::{CommandControl, CommandEvent, CommandExit, OutputStream, RunningCommand};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::CommandId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::console::{Console, Reader, Writer};
use crate::failure::print_warning;
use crate::interrupts::{Interrupt, Interrupts};
use crate::printer::Printer;

/// How much of standard input is read at once.
const CHUNK: usize = 64 << 10;
/// How many Ctrl-C a program may ignore before the next one kills it.
const PATIENCE: u32 = 2;
const SIGKILL: i32 = 9;

/// What takes part besides the output.
pub struct Steering {
    /// Signals to pass on; `None` leaves them to the system.
    pub interrupts: Option<Interrupts>,
    /// Whether standard input is passed on.
    pub stdin: bool,
}

/// A line of `exec --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The command runs.
    CommandStarted {
        /// Its id.
        command: CommandId,
    },
    /// It wrote; exactly one of `text` and `base64` is there.
    Output {
        /// Where to.
        stream: OutputStream,
        /// The position of the first byte in what it wrote to both streams together.
        offset: u64,
        /// The bytes, when they are UTF-8.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The bytes, when they are not.
        #[serde(skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// Output is gone.
    Gap {
        /// The first lost position.
        from: u64,
        /// The first position that is there again.
        to: u64,
    },
    /// It ended.
    Exited {
        /// How.
        #[serde(flatten)]
        exit: CommandExit,
        /// The exit code of this process.
        exit_code: i32,
    },
}

/// Passes everything on until the command ends.
///
/// # Errors
/// Those of the command's events, and `HostIo` when standard output cannot be written.
pub async fn run(running: RunningCommand, steering: Steering, console: &mut Console) -> Result<CommandExit> {
    let RunningCommand { id, events, control } = running;
    let control = control.as_ref();
    let printer = console.printer.clone();
    if printer.json() {
        printer.object(&Line::CommandStarted { command: id })?;
    }
    let output = output(events, &printer, &mut console.raw_stdout, &mut console.raw_stderr);
    let input = input(steering.stdin.then_some(&mut console.stdin), control, &printer);
    let signals = signals(steering.interrupts, control, &printer);
    // The command's end alone ends this. The other two are dropped with it: what they still hold is for a program that
    // does not exist any more.
    tokio::select! {
        exit = output => exit,
        never = input => match never {},
        never = signals => match never {},
    }
}

/// There is no value of it: a loop that answers with it does not end.
enum Never {}

async fn output(
    mut events: BoxStream<'static, Result<CommandEvent>>,
    printer: &Printer,
    stdout: &mut Writer,
    stderr: &mut Writer,
) -> Result<CommandExit> {
    while let Some(event) = events.next().await {
        let event = event?;
        if printer.json() {
            printer.object(&line(&event))?;
        }
        match event {
            CommandEvent::Exited(exit) => {
                stdout
                    .flush()
                    .await
                    .map_err(|source| printer.stdout_failed(source))?;
                // Nobody can be told that standard error cannot be written.
                let _ = stderr.flush().await;
                return Ok(exit);
            }
            _ if printer.json() => {}
            CommandEvent::Gap { from, to } => print_warning(
                printer,
                &format!(
                    "{} bytes of output were lost: nobody read them in time",
                    to.saturating_sub(from)
                ),
                None,
            ),
            CommandEvent::Output { stream, bytes, .. } => match stream {
                OutputStream::Stdout => stdout
                    .write_all(&bytes)
                    .await
                    .map_err(|source| printer.stdout_failed(source))?,
                OutputStream::Stderr => {
                    let _ = stderr.write_all(&bytes).await;
                }
            },
        }
    }
    Err(Error::new(
        ErrorKind::LinkLost,
        "run the command",
        "the connection ended before the command did",
    ))
}

fn line(event: &CommandEvent) -> Line {
    match event {
        CommandEvent::Output {
            stream,
            offset,
            bytes,
        } => {
            let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
            Line::Output {
                stream: *stream,
                offset: *offset,
                base64: text.is_none().then(|| STANDARD.encode(bytes)),
                text,
            }
        }
        CommandEvent::Gap { from, to } => Line::Gap { from: *from, to: *to },
        CommandEvent::Exited(exit) => Line::Exited {
            exit_code: exit.shell_code(),
            exit: exit.clone(),
        },
    }
}

async fn input(stdin: Option<&mut Reader>, control: &dyn CommandControl, printer: &Printer) -> Never {
    if let Some(stdin) = stdin {
        let mut buffer = vec![0; CHUNK];
        loop {
            match stdin.read(&mut buffer).await {
                Ok(0) => break,
                // A program that closed its input reads no more; its end is what counts.
                Ok(length) => {
                    if control
                        .write(Bytes::copy_from_slice(&buffer[..length]))
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
                Err(error) => {
                    print_warning(printer, &format!("standard input cannot be read: {error}"), None);
                    break;
                }
            }
        }
        // It fails only when the program is gone already.
        let _ = control.close_stdin().await;
    }
    std::future::pending().await
}

async fn signals(interrupts: Option<Interrupts>, control: &dyn CommandControl, printer: &Printer) -> Never {
    if let Some(mut interrupts) = interrupts {
        let mut ignored = 0;
        while let Some(signal) = interrupts.next().await {
            let number = match signal {
                Interrupt::Interrupt if ignored >= PATIENCE => SIGKILL,
                other => other.number(),
            };
            if signal == Interrupt::Interrupt {
                ignored += 1;
                if ignored == PATIENCE {
                    printer.note("the program still runs; again to kill it");
                }
            }
            if let Err(error) = control.signal(number).await {
                print_warning(printer, &error.to_string(), error.hint());
            }
        }
    }
    std::future::pending().await
}
