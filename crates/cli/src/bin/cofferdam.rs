//! The `cofferdam` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::process::main()
}
