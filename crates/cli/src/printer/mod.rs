//! The one way to the two output streams: data to standard output, all else to standard error.
//!
//! With `--json`, data are JSON objects, one a line; what is meant for people falls silent, and errors and warnings are
//! JSON lines on standard error. A reader of standard output that goes away is remembered and not a failure of its own.

mod status;
mod style;

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};

use self::status::StatusStream;
pub use self::status::TICK;
pub use self::style::Paint;
use crate::settings::OutputSettings;

/// Prints in the form that was asked for. Clones write to the same streams.
#[derive(Clone)]
pub struct Printer(Arc<Inner>);

struct Inner {
    settings: OutputSettings,
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<StatusStream>,
    stdout_closed: AtomicBool,
}

impl Printer {
    /// A printer on these streams.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, settings: OutputSettings) -> Self {
        Self(Arc::new(Inner {
            settings,
            out: Mutex::new(out),
            err: Mutex::new(StatusStream::new(err, Paint::new(settings.stderr_color))),
            stdout_closed: AtomicBool::new(false),
        }))
    }

    /// Whether data are JSON.
    pub fn json(&self) -> bool {
        self.0.settings.json
    }

    /// Whether nothing but data and errors is wanted.
    pub fn quiet(&self) -> bool {
        self.0.settings.quiet
    }

    /// How often `-v` was given.
    pub fn verbose(&self) -> u8 {
        self.0.settings.verbose
    }

    /// Whether the course of things is told on standard error.
    pub fn narrates(&self) -> bool {
        !self.json() && !self.quiet()
    }

    /// Whether a person reads on a terminal what goes on.
    pub fn tells_a_person(&self) -> bool {
        self.narrates() && self.0.settings.terminals.stderr
    }

    /// Whether standard output is a terminal, where only safe texts may go.
    pub fn stdout_is_terminal(&self) -> bool {
        self.0.settings.terminals.stdout
    }

    /// Whether a question can be asked and answered.
    pub fn can_ask(&self) -> bool {
        let terminals = self.0.settings.terminals;
        self.narrates() && terminals.stdin && terminals.stderr
    }

    /// Paints for standard output.
    pub fn paint(&self) -> Paint {
        Paint::new(self.0.settings.stdout_color)
    }

    /// Paints for standard error.
    pub fn err_paint(&self) -> Paint {
        Paint::new(self.0.settings.stderr_color)
    }

    /// Writes one JSON object to standard output.
    ///
    /// # Errors
    /// `HostIo` when it cannot be written.
    pub fn object(&self, object: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(object).map_err(|source| {
            Error::new(ErrorKind::Internal, "write JSON", "a value has no JSON form").with_source(source)
        })?;
        line.push(b'\n');
        self.bytes(&line)
    }

    /// Writes a line of text to standard output. It must be safe already, see [`crate::sanitize`].
    ///
    /// # Errors
    /// `HostIo` when it cannot be written.
    pub fn line(&self, text: impl Display) -> Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Writes bytes to standard output as they are.
    ///
    /// # Errors
    /// `HostIo` when they cannot be written.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        // The changing line and data share the screen when both streams are the same terminal.
        if self.stdout_is_terminal() {
            self.err().write(b"");
        }
        let mut out = lock(&self.0.out);
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|source| self.stdout_failed(source))
    }

    /// Turns a failure to write to standard output into an error, and remembers when the reader went away.
    pub fn stdout_failed(&self, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::BrokenPipe {
            self.0.stdout_closed.store(true, Ordering::Relaxed);
        }
        Error::new(ErrorKind::HostIo, "write to standard output", "it was refused").with_source(source)
    }

    /// Whether the reader of standard output went away.
    pub fn stdout_closed(&self) -> bool {
        self.0.stdout_closed.load(Ordering::Relaxed)
    }

    /// Tells a person something on standard error. It must be safe already.
    pub fn note(&self, text: impl Display) {
        if self.narrates() {
            self.err().write(format!("{text}\n").as_bytes());
        }
    }

    /// Writes to standard error whatever the form and the verbosity: for errors and warnings.
    pub fn err_line(&self, text: impl Display) {
        self.err().write(format!("{text}\n").as_bytes());
    }

    /// Writes to standard error without ending the line: for questions.
    pub fn ask(&self, text: impl Display) {
        self.err().write(text.to_string().as_bytes());
    }

    /// Writes bytes to standard error as they are.
    pub fn err_bytes(&self, bytes: &[u8]) {
        self.err().write(bytes);
    }

    /// Whether a line that changes can be shown.
    pub fn shows_progress(&self) -> bool {
        self.0.settings.progress
    }

    /// Shows in the changing line what goes on, or takes it away.
    pub fn status(&self, what: Option<&str>) {
        if self.shows_progress() {
            self.err().set(what);
        }
    }

    /// Moves the changing line on; call it every [`TICK`].
    pub fn tick(&self) {
        if self.shows_progress() {
            self.err().tick();
        }
    }

    fn err(&self) -> MutexGuard<'_, StatusStream> {
        lock(&self.0.err)
    }
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Printer")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

/// A panic while printing leaves nothing half done that a later print would trip over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes log lines through the printer, so that they do not run into the changing line.
#[derive(Debug, Clone)]
pub struct LogWriter(pub Printer);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.err_bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
