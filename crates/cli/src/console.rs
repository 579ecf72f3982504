//! What a command has of the world besides sessions: a printer, raw streams, signals, the time zone.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use session_core::error::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::interrupts::{Interrupts, catch_signals};
use crate::printer::Printer;
use crate::settings::Terminals;

/// Bytes to read, such as standard input.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Bytes to write, such as standard output where a program's own bytes pass unchanged.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// Begins to catch signals.
pub type CatchSignals = Box<dyn Fn() -> Result<Interrupts> + Send + Sync>;

/// The streams of a process.
pub struct Streams {
    /// Standard input.
    pub stdin: Reader,
    /// Standard output, for texts.
    pub stdout: Box<dyn Write + Send>,
    /// Standard error, for texts.
    pub stderr: Box<dyn Write + Send>,
    /// Standard output, for a program's bytes: never blocks the signals behind a slow reader.
    pub raw_stdout: Writer,
    /// Standard error likewise.
    pub raw_stderr: Writer,
    /// Which of them are terminals.
    pub terminals: Terminals,
    /// How signals are caught.
    pub catch_signals: CatchSignals,
    /// The directory in which the user is.
    pub current_dir: PathBuf,
    /// The program that runs; our other ones are beside it.
    pub program: PathBuf,
}

impl Streams {
    /// The streams of this process.
    ///
    /// # Errors
    /// `HostIo` when the current directory is gone.
    pub fn of_process() -> Result<Self> {
        let current_dir = std::env::current_dir().map_err(|source| {
            Error::new(
                ErrorKind::HostIo,
                "find the current directory",
                "it cannot be read",
            )
            .with_hint("change into a directory that exists")
            .with_source(source)
        })?;
        Ok(Self {
            stdin: Box::new(tokio::io::stdin()),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            raw_stdout: Box::new(tokio::io::stdout()),
            raw_stderr: Box::new(tokio::io::stderr()),
            terminals: Terminals {
                stdin: io::stdin().is_terminal(),
                stdout: io::stdout().is_terminal(),
                stderr: io::stderr().is_terminal(),
            },
            catch_signals: Box::new(catch_signals),
            current_dir,
            // What cannot be told is looked for in vain where it is needed.
            program: std::env::current_exe().unwrap_or_default(),
        })
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("terminals", &self.terminals)
            .field("current_dir", &self.current_dir)
            .finish_non_exhaustive()
    }
}

/// What commands print to, read from and are interrupted by.
pub struct Console {
    /// Prints in the form that was asked for.
    pub printer: Printer,
    /// Standard input.
    pub stdin: Reader,
    /// Standard output for a program's bytes.
    pub raw_stdout: Writer,
    /// Standard error for a program's bytes.
    pub raw_stderr: Writer,
    /// Which of the streams are terminals.
    pub terminals: Terminals,
    /// Begins to catch signals.
    pub catch_signals: CatchSignals,
    /// The program that runs; our other ones are beside it.
    pub program: PathBuf,
    /// Where times are shown; the system's when `None`. Reading the system's takes file accesses, so it is done when
    /// times are shown.
    pub time_zone: Option<String>,
}

impl Console {
    /// The time zone in which times are shown.
    pub fn time_zone(&self) -> TimeZone {
        match self.time_zone.as_deref() {
            Some(name) => TimeZone::get(name)
                .or_else(|_| TimeZone::posix(name))
                .unwrap_or(TimeZone::UTC),
            None => TimeZone::system(),
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("printer", &self.printer)
            .finish_non_exhaustive()
    }
}
