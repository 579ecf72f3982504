//! `completions`: scripts that let a shell complete our command line.

use clap_complete::Shell;
use session_core::error::Result;

use crate::args::Program;
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// Prints the script for a shell.
///
/// # Errors
/// `HostIo` when standard output cannot be written.
pub fn completions(shell: Shell, program: Program, printer: &Printer) -> Result<ExitStatus> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program.command(), program.name(), &mut script);
    printer.bytes(&script)?;
    Ok(ExitStatus::SUCCESS)
}
