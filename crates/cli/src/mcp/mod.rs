//! `cofferdam-mcp`: the MCP server as a program.
//!
//! ```text
//!  client ── stdio or HTTP ──▶ cofferdam-mcp ── socket ──▶ the daemon, which outlives it
//! ```
//!
//! The server of a client over stdio ends with that client. Sessions go on in any case, and so do prompts that nobody waits
//! for: the daemon runs them. With `--embedded` there is none, and [`keeper`] takes them over.

pub mod args;
pub mod keeper;
mod serve;
pub mod settings;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use clap::Parser as _;
use futures::StreamExt as _;
use session_core::error::Result;
use tokio_util::sync::CancellationToken;

use self::args::{KeepStage, McpCli};
use self::settings::McpSettings;
use crate::app::show_clap;
use crate::compose::Backend;
use crate::console::{Reader, Streams, Writer};
use crate::exit::ExitStatus;
use crate::failure::print_error;
use crate::interrupts::Interrupts;
use crate::logging;
use crate::printer::Printer;
use crate::settings::env::Environment;
use crate::settings::{ColorChoice, OutputSettings};

/// A command line that could be read, with what it speaks through.
pub struct McpInvocation {
    cli: McpCli,
    printer: Printer,
    stdin: Reader,
    raw_stdout: Writer,
    catch_signals: crate::console::CatchSignals,
    program: PathBuf,
}

impl std::fmt::Debug for McpInvocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpInvocation")
            .field("cli", &self.cli)
            .finish_non_exhaustive()
    }
}

impl McpInvocation {
    /// Reads a command line. `Err` when there is nothing more to do: help or a usage error was printed.
    ///
    /// # Errors
    /// The exit status of the process.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        environment: &dyn Environment,
        streams: Streams,
    ) -> Result<Self, ExitStatus> {
        // A form that is not known is an error as soon as errors can be printed.
        let json = settings::json(environment).unwrap_or_default();
        let output =
            OutputSettings::resolve(json, false, 0, ColorChoice::Auto, streams.terminals, environment);
        let printer = Printer::new(streams.stdout, streams.stderr, output);
        let cli = McpCli::try_parse_from(args).map_err(|error| show_clap(&error, &printer))?;
        Ok(Self {
            cli,
            printer,
            stdin: streams.stdin,
            raw_stdout: streams.raw_stdout,
            catch_signals: streams.catch_signals,
            program: streams.program,
        })
    }

    /// Whether this process only starts the one that keeps turns.
    pub fn starts_keeper(&self) -> bool {
        self.cli.keep_turns == Some(KeepStage::Start)
    }

    /// `--state-dir`.
    pub fn state_dir(&self) -> Option<&Path> {
        self.cli.state_dir.as_deref()
    }

    /// Serves until the client leaves or a signal says so. A second signal ends the process at once.
    pub async fn run(self, environment: &dyn Environment, backend: &dyn Backend) -> ExitStatus {
        let printer = self.printer.clone();
        let ended = Box::pin(self.dispatch(environment, backend)).await;
        ended.unwrap_or_else(|error| {
            print_error(&printer, &error);
            error.kind().into()
        })
    }

    async fn dispatch(self, environment: &dyn Environment, backend: &dyn Backend) -> Result<ExitStatus> {
        logging::install(settings::log(environment)?, &self.printer);
        if self.cli.keep_turns.is_some() {
            let settings = McpSettings::for_keeping(&self.cli, environment)?;
            keeper::stay(&settings, backend, self.stdin, self.raw_stdout).await?;
            return Ok(ExitStatus::SUCCESS);
        }
        let settings = McpSettings::resolve(&self.cli, environment)?;
        let interrupts = (self.catch_signals)()?;
        let stop = CancellationToken::new();
        let serving = Box::pin(serve::serve(
            settings,
            self.program,
            environment,
            &self.printer,
            backend,
            stop.clone(),
        ));
        until_interrupted_twice(serving, interrupts, stop).await
    }
}

/// Lets a server come to its end at the first signal, and does not wait for it after the second.
async fn until_interrupted_twice(
    mut serving: Pin<Box<impl Future<Output = Result<()>>>>,
    mut interrupts: Interrupts,
    stop: CancellationToken,
) -> Result<ExitStatus> {
    loop {
        // The server is kept outside of the loop, and a signal that came is told by its stream once.
        tokio::select! {
            served = &mut serving => return served.map(|()| ExitStatus::SUCCESS),
            Some(signal) = interrupts.next() => {
                if stop.is_cancelled() {
                    return Ok(ExitStatus::of_signal(signal.number()));
                }
                stop.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::interrupts::Interrupt::{Interrupt, Terminate};

    async fn ended(
        serving: impl Future<Output = Result<()>>,
        signals: Vec<crate::interrupts::Interrupt>,
        stop: &CancellationToken,
    ) -> ExitStatus {
        let signals = stream::iter(signals).chain(stream::pending()).boxed();
        let ended = until_interrupted_twice(Box::pin(serving), signals, stop.clone());
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), ended).await;
        ended.expect("it ends").unwrap()
    }

    #[tokio::test]
    async fn the_first_signal_is_waited_for_and_the_second_is_not() {
        let stop = CancellationToken::new();
        let in_order = async {
            stop.cancelled().await;
            Ok(())
        };
        assert_eq!(ended(in_order, vec![Terminate], &stop).await, ExitStatus::SUCCESS);

        let stop = CancellationToken::new();
        let never = std::future::pending();
        let status = ended(never, vec![Terminate, Interrupt], &stop).await;
        assert_eq!(status, ExitStatus::INTERRUPTED);
    }
}
