//! The server's image and its compose file, as their users start them: on the engine, beside the sessions that it makes.
//!
//! ```text
//! curl ── 127.0.0.1:PORT ──▶ the server in its container ── the engine's socket ──▶ sessions
//!                                 │ loopback of that container
//!                                 └──▶ model.py, in a container that shares its network
//! ```
//!
//! Nothing of the tests' own stands between: `curl` is what asks, the compose file is the one in `deploy/`, its settings are
//! those of `.env.example` with the blanks filled in.

mod checks;
mod compose;
mod curl;
mod place;

use xtask::error::{Error, Result};
use xtask::reporter::Reporter;

use self::checks::Findings;
use self::compose::Compose;
use self::place::Place;
use crate::engine::Engine;
use crate::image;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// What is as it has to be.
    pub(crate) passed: u64,
    /// What is not, a line each.
    pub(crate) failures: Vec<String>,
}

/// Starts it, uses it, removes it.
pub(crate) fn check(engine: &Engine, reporter: &Reporter) -> Result<Tally> {
    compose::ensure(engine, reporter)?;
    curl::ensure(reporter)?;
    let mut step = reporter.step(format!("{} by compose", image::SERVER));
    let place = Place::make(engine)?;
    let compose = Compose::new(engine, &place);
    let mut findings = Findings::new(&mut step);
    let used = compose
        .up()
        .and_then(|()| checks::all(engine, &compose, &place, &mut findings));
    let log = used.is_err().then(|| compose.logs());
    let gone = compose.down();
    used.map_err(|error| match log {
        Some(log) => error.output(log),
        None => error,
    })?;
    gone?;
    compose.expect_gone(&mut findings)?;
    let tally = findings.into_tally();
    step.done(&format!(
        "{} passed, {} failed",
        tally.passed,
        tally.failures.len()
    ));
    Ok(tally)
}

/// Whether everything is as it has to be; the error shows what is not.
pub(crate) fn verdict(tally: &Tally) -> Result<()> {
    if tally.failures.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} claims about the server's image do not hold",
        tally.failures.len()
    ))
    .output(tally.failures.join("\n"))
    .hint("run it alone with `cargo xtask test --only server-image`"))
}
