//! Runs a test in a world of its own, and looks at what it left behind whatever came of it.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use testkit::model::Script;

use super::Result;
use super::world::World;

/// No test takes longer unless it hangs.
const LIMIT: Duration = Duration::from_secs(240);

/// A test whose sessions' model follows `script`.
pub(crate) fn test<F>(
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
