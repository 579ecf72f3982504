//! The conformance suite on a Docker engine, with the real `session-init`, the real agent and a scripted model.
//!
//! Needs an engine with the images of `cargo xtask image --foreign`. Every test has an owner of its own, removes what bears
//! its label whatever became of it, and fails when something is left.

mod back_door;
mod runtime;
mod sessions;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;
use testkit::conformance;

/// The image that sessions have when they name none.
const IMAGE: &str = runtime_docker::DEFAULT_TOOLBOX_IMAGE;
/// An image that knows nothing of us and means no good.
const FOREIGN_IMAGE: &str = "cofferdam-test-foreign:latest";
/// On no registry that answers.
const MISSING_IMAGE: &str = "localhost:9/cofferdam-test-missing:latest";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = match runtime::DockerLab::new() {
        Ok(lab) => Arc::new(lab),
        Err(error) => {
            let failed = libtest_mimic::Trial::test("docker::connect", move || Err(error.into()));
            return libtest_mimic::run(&arguments, vec![failed]).exit_code();
        }
    };
    let mut tests = conformance::runtime::tests("docker", runtime);
    tests.extend(conformance::sessions::tests(
        "docker",
        Arc::new(sessions::DockerSessions),
    ));
    libtest_mimic::run(&arguments, tests).exit_code()
}
