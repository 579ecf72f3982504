//! End to end on Docker: the real agent, a scripted model, the whole product in between.
//!
//! One test at a time: each makes containers, and some measure. Every test has a state directory, a model and a key of its own,
//! and fails when anything of it is left on the engine.

mod budgets;
mod checkpoints;
mod clones;
mod commands;
mod failures;
mod flood;
mod input;
mod isolation;
mod losses;
mod outside;
#[expect(
    clippy::print_stdout,
    reason = "it answers whoever started it on its standard output"
)]
mod owner;
mod providers;
mod restarts;
mod seal;
mod secrets;
mod takeover;
mod turns;
mod watchdog;
mod workspaces;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use testkit::model::Script;

use self::world::World;

/// What a test answers with; `?` works on everything.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// No test takes longer unless it hangs.
const LIMIT: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    if let Some(code) = owner::run_if_asked() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests = [
        turns::tests(),
        failures::tests(),
        losses::tests(),
        takeover::tests(),
        restarts::tests(),
        isolation::tests(),
        seal::tests(),
        checkpoints::tests(),
        clones::tests(),
        secrets::tests(),
        providers::tests(),
        budgets::tests(),
        workspaces::tests(),
        commands::tests(),
        flood::tests(),
        input::tests(),
        watchdog::tests(),
    ];
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().flatten().collect());
    conclusion.exit_code()
}

/// A test whose model follows `script`.
fn test<F>(
    name: &'static str,
    script: fn() -> Script,
    body: impl FnOnce(Arc<World>) -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = Outcome> + Send + 'static,
{
    test_in(name, move || World::open(script()), body)
}

/// A test in a world of its own kind.
fn test_in<W, F>(
    name: &'static str,
    world: impl FnOnce() -> W + Send + 'static,
    body: impl FnOnce(Arc<World>) -> F + Send + 'static,
) -> Trial
where
    W: Future<Output = Result<World, Box<dyn std::error::Error + Send + Sync>>>,
    F: Future<Output = Outcome> + Send + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(world(), body))
    })
}

async fn run<F>(
    world: impl Future<Output = Result<World, Box<dyn std::error::Error + Send + Sync>>>,
    body: impl FnOnce(Arc<World>) -> F + Send + 'static,
) -> Result<(), Failed>
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let world = Arc::new(world.await.map_err(|error| Failed::from(chain(&*error)))?);
    // A task of its own, so that a panic in it does not keep us from cleaning up.
    let mut task = tokio::spawn(body(Arc::clone(&world)));
    let outcome = match tokio::time::timeout(LIMIT, &mut task).await {
        Ok(Ok(outcome)) => outcome.map_err(|error| chain(&*error)),
        Ok(Err(panic)) => Err(said(panic)),
        Err(_) => {
            task.abort();
            Err(format!("it did not end within {} s", LIMIT.as_secs()))
        }
    };
    let left = world.finish().await;
    match (outcome, left) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(message), _) => Err(Failed::from(format!("{message}\n--- log ---\n{}", world.log()))),
        (Ok(()), Err(error)) => Err(Failed::from(format!(
            "it left something behind: {}",
            chain(&*error)
        ))),
    }
}

fn said(panic: tokio::task::JoinError) -> String {
    match panic.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
            format!("panicked: {}", text.unwrap_or_else(|| "without words".to_owned()))
        }
        Err(cancelled) => cancelled.to_string(),
    }
}

/// An error with all its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
