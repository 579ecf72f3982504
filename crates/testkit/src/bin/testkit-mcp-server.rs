//! An MCP server for tests and benches; see `testkit::mcp`. What it does is said by its arguments.

use std::io::Write as _;
use std::process::ExitCode;

use testkit::mcp::{Options, run};

fn main() -> ExitCode {
    match Options::from_args(std::env::args().skip(1)) {
        Ok(options) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "it tells the names in its environment, and the length of a secret there: that is what it is for"
            )]
            let env = std::env::vars().collect();
            run(Options { env, ..options })
        }
        Err(wrong) => {
            let _ = writeln!(std::io::stderr(), "testkit-mcp-server: {wrong}");
            ExitCode::from(2)
        }
    }
}
