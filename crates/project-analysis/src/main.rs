//! `project-analysis KIND [DIRECTORY]`: analyses the directory (the current one when none is named) and writes the document
//! to standard output. Static and small, because it runs in every session whatever its image holds.
//!
//! Exit codes: 0 when the document was written, 1 when the directory cannot be read or the output cannot be written, 2 for
//! wrong arguments.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use project_analysis::{AnalysisKind, Limits};

const USAGE: &str = "usage: project-analysis structure|health|dependencies|issues [--time-limit SECONDS] [DIRECTORY]\n       project-analysis --schema | --version";
const FAILED: u8 = 1;
const USAGE_ERROR: u8 = 2;

enum Command {
    Analyze(AnalysisKind, PathBuf, Limits),
    Schema,
    Version,
}

fn main() -> ExitCode {
    let Some(command) = parse(std::env::args_os().skip(1)) else {
        complain(USAGE);
        return ExitCode::from(USAGE_ERROR);
    };
    let written = match command {
        Command::Schema => write(&project_analysis::schema::document()),
        Command::Version => writeln!(io::stdout(), "project-analysis {}", env!("CARGO_PKG_VERSION")),
        Command::Analyze(kind, directory, limits) => {
            match project_analysis::analyze(&directory, kind, &limits) {
                Ok(document) => write(&document),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                    complain(&format!("{error}{}", cause.unwrap_or_default()));
                    return ExitCode::from(FAILED);
                }
            }
        }
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("could not write the document: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Command> {
    let mut arguments = arguments;
    let first = arguments.next()?;
    let kind = match first.to_str()? {
        "--schema" => return Some(Command::Schema),
        "--version" => return Some(Command::Version),
        name => name.parse().ok()?,
    };
    let (mut limits, mut directory) = (Limits::default(), None);
    while let Some(argument) = arguments.next() {
        if argument == "--time-limit" {
            let seconds = arguments.next()?.to_str()?.parse().ok()?;
            limits.time = Duration::from_secs(seconds);
        } else if directory.is_none() {
            directory = Some(PathBuf::from(argument));
        } else {
            return None;
        }
    }
    let directory = directory.unwrap_or_else(|| PathBuf::from("."));
    Some(Command::Analyze(kind, directory, limits))
}

fn write(document: &impl serde::Serialize) -> io::Result<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut stdout, document)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

fn complain(message: &str) {
    // Nobody is left to tell when this fails.
    let _ = writeln!(io::stderr(), "{message}");
}
