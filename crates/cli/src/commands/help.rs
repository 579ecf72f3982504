//! `help`: a command's help, the environment, the exit codes.

use session_core::error::{Error, ErrorKind, Result};

use crate::args;
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::reference;
use crate::sanitize;

/// Prints help on a topic, or on all commands.
///
/// # Errors
/// `InvalidArgument` for an unknown topic, `HostIo` when standard output cannot be written.
pub fn help(topic: Option<&str>, printer: &Printer) -> Result<ExitStatus> {
    let mut root = args::command();
    let text = match topic {
        None => styled(&root.render_long_help(), printer),
        Some("environment") => reference::environment(),
        Some("exit-codes") => reference::exit_codes(),
        Some(name) => {
            // Without a build a command does not know the flags of all commands.
            root.build();
            let found = root.find_subcommand_mut(name).ok_or_else(|| unknown(name))?;
            styled(&found.render_long_help(), printer)
        }
    };
    printer.line(text.trim_end())?;
    Ok(ExitStatus::SUCCESS)
}

fn styled(help: &clap::builder::StyledStr, printer: &Printer) -> String {
    if printer.paint() == crate::printer::Paint::new(true) {
        help.ansi().to_string()
    } else {
        help.to_string()
    }
}

fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "show help", "there is no such topic")
        .with_context("topic", sanitize::one_line(name))
        .with_hint("`cofferdam help` lists the commands; `environment` and `exit-codes` are topics too")
}
