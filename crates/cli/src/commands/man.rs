//! `man`: manual pages, made from the command lines' own definitions.

use std::path::Path;

use clap_mangen::Man;
use session_core::error::{Error, ErrorKind, Result};

use crate::args::Program;
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// Prints the main page of a program, or writes every page of all programs into a directory.
///
/// # Errors
/// `HostIo` when a page cannot be written.
pub fn man(program: Program, dir: Option<&Path>, printer: &Printer) -> Result<ExitStatus> {
    let Some(dir) = dir else {
        let mut root = program.command();
        root.build();
        printer.bytes(&page(root)?)?;
        return Ok(ExitStatus::SUCCESS);
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| {
            Program::ALL
                .iter()
                .try_for_each(|program| clap_mangen::generate_to(program.command(), dir))
        })
        .map_err(|source| failed(dir, source))?;
    printer.note(format_args!("pages written to {}", dir.display()));
    Ok(ExitStatus::SUCCESS)
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(|source| {
        Error::new(
            ErrorKind::Internal,
            "make a manual page",
            "it could not be rendered",
        )
        .with_source(source)
    })?;
    Ok(page)
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::HostIo,
        "write the manual pages",
        "it cannot be written",
    )
    .with_context("path", path.display())
    .with_source(source)
}
