//! One suite for every runtime and every manager: what the traits promise, each promise a test of its own.
//!
//! [`runtime`] has a test for each bullet under `# Behavior` of
//! [`ContainerRuntime`](session_core::runtime::ContainerRuntime), and [`sessions`] has one for each thing that a caller of
//! [`SessionApi`](session_core::api::SessionApi) may count on, bad input included. Neither knows which engine it runs on:
//! what is particular to one comes from a [`runtime::Lab`] or a [`sessions::SessionLab`].
//!
//! ```no_run
//! # fn lab() -> std::sync::Arc<dyn testkit::conformance::runtime::Lab> { unimplemented!() }
//! fn main() -> std::process::ExitCode {
//!     let arguments = libtest_mimic::Arguments::from_args();
//!     let tests = testkit::conformance::runtime::tests("mine", lab());
//!     libtest_mimic::run(&arguments, tests).exit_code()
//! }
//! ```
//!
//! A bullet that needs a capability which a runtime does not have is not left out: the runtime must refuse.

/// Fails the test unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err(format!($($message)+).into());
        }
    };
}

/// Fails the test unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $what:expr) => {
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    return Err(format!("{}: {left:?} where {right:?} was expected", $what).into());
                }
            }
        }
    };
}

mod archives;
pub mod runtime;
pub mod sessions;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use libtest_mimic::{Failed, Trial};
use session_core::error::{Error, ErrorKind};

/// What a test comes to.
type Outcome = Result<(), Failed>;

/// After which time a test has failed, whatever it waits for.
const LIMIT: Duration = Duration::from_secs(120);

/// What a test does; it stays on the thread of its trial.
type Test<S> = fn(Arc<S>) -> LocalBoxFuture<'static, Outcome>;

/// One test: its name, and what it does on a stage of its own.
struct Case<S> {
    name: String,
    run: Test<S>,
}

/// The cases of a module, named after it and their functions.
macro_rules! cases {
    ($group:literal: $($test:ident),+ $(,)?) => {
        vec![$($crate::conformance::Case {
            name: concat!($group, "::", stringify!($test)).to_owned(),
            run: |stage| Box::pin($test(stage)),
        }),+]
    };
}
use cases;

/// How long it may take to break off what a test forgot.
const TEAR_DOWN: std::time::Duration = std::time::Duration::from_secs(5);

/// Where a test plays: made for it, and cleared away after it, whatever became of it.
trait Scene: Sized + Send + Sync + 'static {
    type Lab: ?Sized + Send + Sync + 'static;

    async fn open(lab: Arc<Self::Lab>) -> Result<Self, Failed>;

    /// Removes everything; fails when something was left that the test's subject should have removed.
    async fn close(&self) -> Outcome;
}

/// A test that runs `case` on a scene of its own.
fn trial<S: Scene>(prefix: &str, lab: Arc<S::Lab>, case: Case<S>) -> Trial {
    let Case { name, run } = case;
    Trial::test(format!("{prefix}::{name}"), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(play::<S>(lab, run));
        // What a test forgot to wait for is broken off; it has let go of its directories when this returns.
        runtime.shutdown_timeout(TEAR_DOWN);
        outcome
    })
}

async fn play<S: Scene>(lab: Arc<S::Lab>, run: Test<S>) -> Outcome {
    let scene = Arc::new(S::open(lab).await?);
    let test = AssertUnwindSafe(run(scene.clone())).catch_unwind();
    let outcome = match tokio::time::timeout(LIMIT, test).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => Err("it panicked".into()),
        Err(_late) => Err(format!("it was not done after {} s", LIMIT.as_secs()).into()),
    };
    let cleared = tokio::time::timeout(LIMIT, scene.close()).await;
    let cleared = cleared.unwrap_or_else(|_late| Err("clearing away takes too long".into()));
    outcome.and(cleared)
}

/// Whether an operation was refused for this reason, with a hint, and as retryable as its kind.
fn refused<T>(outcome: session_core::error::Result<T>, kind: ErrorKind) -> Result<Error, Failed> {
    match outcome {
        Ok(_) => Err(format!("it was not refused, and should be with {kind}").into()),
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(format!("refused with {} instead of {kind}: {error:?}", error.kind()).into()),
    }
}

/// The same, and the refusal says what to do.
fn refused_with_hint<T>(outcome: session_core::error::Result<T>, kind: ErrorKind) -> Result<Error, Failed> {
    let error = refused(outcome, kind)?;
    ensure!(error.hint().is_some(), "there is no hint: {error:?}");
    Ok(error)
}
