//! The `cofferdam` command. Called `cofferdam-mcp`, it is that program: the server's image holds one file for both.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if Path::new(&called).file_name() == Some("cofferdam-mcp".as_ref()) {
        cli::process::mcp_main()
    } else {
        cli::process::main()
    }
}
