//! The real `cofferdam-mcp` on a real engine, with clients that we did not write: the real Claude Code, and the protocol
//! library's own client. The agents inside sessions are real, too; only what models say is scripted.
//!
//! One test at a time: each makes containers. Every test has a state directory, models and a key of its own, and fails when
//! anything of it is left on the engine, in the process table, or the key anywhere but at the provider.

mod claude;
mod client;
mod delegation;
mod departures;
mod engine;
mod packages;
mod tools;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use testkit::model::Script;

use self::world::World;

/// What anything here answers with; `?` works on everything.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// No test takes longer unless it hangs.
const LIMIT: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests = [
        delegation::tests(),
        tools::tests(),
        departures::tests(),
        packages::tests(),
    ];
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().flatten().collect());
    conclusion.exit_code()
}

/// A test whose sessions' model follows `script`.
fn test<F>(
    name: &'static str,
    script: fn() -> Script,
    body: impl FnOnce(Arc<World>) -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(script(), body))
    })
}

async fn run<F>(
    script: Script,
    body: impl FnOnce(Arc<World>) -> F + Send + 'static,
) -> std::result::Result<(), Failed>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let world = World::open(script)
        .await
        .map_err(|error| Failed::from(chain(&*error)))?;
    let world = Arc::new(world);
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
        (Err(message), _) => Err(Failed::from(format!(
            "{message}\n--- the servers' logs ---\n{}",
            world.log()
        ))),
        (Ok(()), Err(error)) => Err(Failed::from(chain(&*error))),
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
