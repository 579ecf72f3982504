//! The conformance suite on a Docker engine, with the real `session-init`, the real agent and a scripted model.
//!
//! The same suite runs on another engine with Docker's API when it is named: `-- --engine podman=unix:///run/podman.sock`.
//!
//! Needs an engine with the images of `cargo xtask image --foreign`. Every test has an owner of its own, removes what bears
//! its label whatever became of it, and fails when something is left.

mod back_door;
mod engine;
mod runtime;
mod sessions;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use testkit::conformance;

use engine::Engine;

/// The image that sessions have when they name none.
const IMAGE: &str = runtime_docker::DEFAULT_TOOLBOX_IMAGE;
/// An image that knows nothing of us and means no good.
const FOREIGN_IMAGE: &str = "cofferdam-test-foreign:latest";
/// On no registry that answers.
const MISSING_IMAGE: &str = "localhost:9/cofferdam-test-missing:latest";

/// What Podman 4.3 cannot: it tells nobody that the kernel ended a container for lack of memory. A session's end then says
/// "exited" with status 137, and no more.
const PODMAN_CANNOT: [&str; 2] = [
    "inspect::says_when_it_ended_for_lack_of_memory",
    "watch::reports_an_out_of_memory_kill_within_a_second",
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().collect();
    let engine = Engine::of(&mut arguments);
    let arguments = Arguments::from_iter(arguments);
    match engine.and_then(|engine| tests(&engine)) {
        Ok(tests) => libtest_mimic::run(&arguments, tests).exit_code(),
        Err(error) => {
            let failed = Trial::test("connect", move || Err(error.into()));
            libtest_mimic::run(&arguments, vec![failed]).exit_code()
        }
    }
}

fn tests(engine: &Engine) -> Result<Vec<Trial>, String> {
    let lab = runtime::DockerLab::new(engine).map_err(|error| error.to_string())?;
    let mut tests = conformance::runtime::tests(&engine.name, Arc::new(lab));
    let sessions = sessions::DockerSessions(engine.clone());
    tests.extend(conformance::sessions::tests(&engine.name, Arc::new(sessions)));
    let cannot = |test: &Trial| {
        engine.name == "podman" && PODMAN_CANNOT.iter().any(|name| test.name().ends_with(name))
    };
    let known = |test: Trial| {
        let ignored = test.has_ignored_flag() || cannot(&test);
        test.with_ignored_flag(ignored)
    };
    Ok(tests.into_iter().map(known).collect())
}
