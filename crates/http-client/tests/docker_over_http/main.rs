//! The suite of the lifecycle API through a server and a client, on a Docker engine, by the Unix socket.

mod docker;
#[expect(dead_code, reason = "an engine is tried by the socket alone")]
#[path = "../conformance/over_http.rs"]
mod over_http;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;
use over_http::{OverHttp, Way};
use testkit::conformance;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let lab = Arc::new(OverHttp::new(docker::sessions(), Way::Socket));
    libtest_mimic::run(&arguments, conformance::sessions::tests("docker", lab)).exit_code()
}
