//! Checks that say what they found and, unless all is well, what to do about it. Nothing is repaired.

use serde::Serialize;
use session_core::error::{Error, Result};

use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::sanitize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// Something is worse than it could be.
    Warn,
    /// Something does not work.
    Fail,
}

/// The outcome of one check; a line of `--json`.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub status: Verdict,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            status: Verdict::Ok,
            message: message.into(),
            remedy: None,
        }
    }

    /// Something is worse than it could be.
    pub fn warn(check: impl Into<String>, message: impl Into<String>, remedy: Option<&str>) -> Self {
        Self {
            check: check.into(),
            status: Verdict::Warn,
            message: message.into(),
            remedy: remedy.map(str::to_owned),
        }
    }

    /// Something does not work.
    pub fn failed(check: impl Into<String>, error: &Error) -> Self {
        Self {
            check: check.into(),
            status: Verdict::Fail,
            message: error.to_string(),
            remedy: error.hint().map(str::to_owned),
        }
    }
}

/// What is said at the end, after the worst that was found.
#[derive(Debug)]
pub struct Conclusions<'a> {
    /// All is well.
    pub ok: &'a str,
    /// It works.
    pub warn: &'a str,
    /// It does not.
    pub fail: &'a str,
}

/// Prints checks as they are known, and remembers the worst.
#[derive(Debug)]
pub struct Report<'a> {
    /// Where they are printed.
    pub printer: &'a Printer,
    worst: Verdict,
}

impl<'a> Report<'a> {
    /// A report without any check yet.
    pub fn new(printer: &'a Printer) -> Self {
        Self {
            printer,
            worst: Verdict::Ok,
        }
    }

    /// Prints a check.
    ///
    /// # Errors
    /// `HostIo` when standard output cannot be written.
    pub fn add(&mut self, check: Check) -> Result<()> {
        if self.worst != Verdict::Fail && check.status != Verdict::Ok {
            self.worst = check.status;
        }
        if self.printer.json() {
            return self.printer.object(&check);
        }
        let paint = self.printer.paint();
        let sign = match check.status {
            Verdict::Ok => paint.green("ok  "),
            Verdict::Warn => paint.yellow("warn"),
            Verdict::Fail => paint.red("FAIL"),
        };
        let name = paint.bold(format_args!("{:<10}", sanitize::one_line(&check.check)));
        self.printer.line(format_args!(
            "{sign}  {name}  {}",
            sanitize::one_line(&check.message)
        ))?;
        match &check.remedy {
            Some(remedy) => {
                let remedy = format!("{} {}", paint.cyan("→"), sanitize::one_line(remedy));
                self.printer.line(format_args!("{:18}{remedy}", ""))
            }
            None => Ok(()),
        }
    }

    /// Says what it comes to.
    pub fn conclude(self, conclusions: &Conclusions<'_>) -> ExitStatus {
        self.printer.note(match self.worst {
            Verdict::Ok => conclusions.ok,
            Verdict::Warn => conclusions.warn,
            Verdict::Fail => conclusions.fail,
        });
        match self.worst {
            Verdict::Ok | Verdict::Warn => ExitStatus::SUCCESS,
            Verdict::Fail => ExitStatus::TURN_FAILED,
        }
    }
}
