//! How errors, warnings and hints are printed: code, message, cause chain, what to do.

use std::error::Error as _;

use serde::Serialize;
use session_core::error::{Error, ErrorReport};

use crate::printer::Printer;
use crate::sanitize;

/// An error as a JSON line.
#[derive(Debug, Serialize)]
struct ErrorLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    report: &'a ErrorReport,
    /// The causes, outermost first; only with `-v`, for they speak of the inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
}

/// A warning as a JSON line.
#[derive(Debug, Serialize)]
struct WarningLine<'a> {
    event: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// Prints an error to standard error.
pub fn print_error(printer: &Printer, error: &Error) {
    let causes = if printer.verbose() > 0 {
        causes(error)
    } else {
        Vec::new()
    };
    print_report_with(printer, &error.report(), causes);
}

/// Prints an error that came as data.
pub fn print_report(printer: &Printer, report: &ErrorReport) {
    print_report_with(printer, report, Vec::new());
}

fn print_report_with(printer: &Printer, report: &ErrorReport, causes: Vec<String>) {
    if printer.json() {
        json_line(
            printer,
            &ErrorLine {
                event: "error",
                report,
                causes,
            },
        );
        return;
    }
    let paint = printer.err_paint();
    let message = sanitize::lines(&report.message);
    let code = paint.dim(format_args!("[{}]", report.code));
    printer.err_line(format_args!("{} {message} {code}", paint.red("error:")));
    for cause in causes {
        printer.err_line(format_args!(
            "  {} {}",
            paint.dim("caused by:"),
            sanitize::lines(&cause)
        ));
    }
    if let Some(hint) = &report.hint {
        printer.err_line(format_args!(
            "  {} {}",
            paint.cyan("hint:"),
            sanitize::lines(hint)
        ));
    }
}

/// Prints a warning to standard error, also when it is quiet: a warning is about something that the user would miss.
pub fn print_warning(printer: &Printer, message: &str, hint: Option<&str>) {
    if printer.json() {
        json_line(
            printer,
            &WarningLine {
                event: "warning",
                message,
                hint,
            },
        );
        return;
    }
    let paint = printer.err_paint();
    printer.err_line(format_args!(
        "{} {}",
        paint.yellow("warning:"),
        sanitize::lines(message)
    ));
    if let Some(hint) = hint {
        printer.err_line(format_args!(
            "  {} {}",
            paint.cyan("hint:"),
            sanitize::lines(hint)
        ));
    }
}

fn json_line(printer: &Printer, line: &impl Serialize) {
    match serde_json::to_string(line) {
        Ok(text) => printer.err_line(text),
        Err(error) => printer.err_line(error),
    }
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}
