//! The `cofferdam-mcp` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::process::mcp_main()
}
