//! Reads a command to its end, whoever waits for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use session_core::command::{CommandControl, CommandEvent, RunningCommand};
use session_core::error::{Error, ErrorKind};

use super::{End, Record};
use crate::core::Core;

/// How often a command that runs on by itself is looked for again after its connection broke.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
const KILL: i32 = 9;

/// How a command is read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// What it is given to read.
    pub(crate) stdin: Option<Bytes>,
    /// It goes on when this server ends.
    pub(crate) detached: bool,
}

/// What came of reading one connection to a command.
enum Outcome {
    Ended(End),
    /// The connection broke; the command may run on.
    Broken(Error),
    /// The server ends and the command goes on.
    Left,
}

/// Reads the command into its record until it ends.
pub(crate) async fn collect(core: Arc<Core>, record: Arc<Record>, running: RunningCommand, reading: Reading) {
    let mut running = running;
    let mut stdin = reading.stdin;
    let mut attempts = 0;
    loop {
        let error = match read(&core, &record, running, stdin.take(), reading.detached).await {
            Outcome::Ended(end) => return record.finish(end),
            Outcome::Left => return,
            Outcome::Broken(error) => error,
        };
        attempts += 1;
        if !reading.detached || !error.is_retryable() || attempts > ATTEMPTS {
            return record.finish(Err(error.report()));
        }
        tokio::time::sleep(PAUSE).await;
        let (reached, ..) = record.sizes();
        running = match core
            .api
            .attach_command(&record.session, &record.command, reached)
            .await
        {
            Ok(running) => running,
            Err(error) => return record.finish(Err(error.report())),
        };
    }
}

async fn read(
    core: &Core,
    record: &Record,
    mut running: RunningCommand,
    stdin: Option<Bytes>,
    detached: bool,
) -> Outcome {
    let control: Arc<dyn CommandControl> = Arc::from(running.control);
    let mut feeding = std::pin::pin!(feed(control.clone(), stdin));
    let (mut fed, mut killed, mut stopped) = (false, false, false);
    loop {
        // Events are kept in the stream, input in its own future, and the tokens stay cancelled: no arm loses anything.
        tokio::select! {
            event = running.events.next() => match event {
                Some(Ok(CommandEvent::Output { stream, offset, bytes })) => {
                    core.book.push(record, stream, offset, &bytes);
                }
                Some(Ok(CommandEvent::Gap { .. })) => {}
                Some(Ok(CommandEvent::Exited(exit))) => return Outcome::Ended(Ok(exit)),
                Some(Err(error)) => return Outcome::Broken(error),
                None => return Outcome::Broken(Error::new(
                    ErrorKind::LinkLost,
                    "run a command",
                    "the connection ended before the command did",
                )),
            },
            () = &mut feeding, if !fed => fed = true,
            () = record.kill.cancelled(), if !killed => {
                killed = true;
                end(&*control).await;
            }
            () = core.stop.cancelled(), if !stopped => {
                stopped = true;
                if detached {
                    return Outcome::Left;
                }
                end(&*control).await;
            }
        }
    }
}

async fn feed(control: Arc<dyn CommandControl>, stdin: Option<Bytes>) {
    let Some(bytes) = stdin else { return };
    // A command that ends without reading all of it is a matter of its exit code.
    let fed = async {
        control.write(bytes).await?;
        control.close_stdin().await
    };
    if let Err(error) = fed.await {
        tracing::debug!(%error, "a command did not take its input");
    }
}

async fn end(control: &dyn CommandControl) {
    if let Err(error) = control.signal(KILL).await {
        tracing::debug!(%error, "a command could not be ended");
    }
}
