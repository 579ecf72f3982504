//! Everything that CI runs, in one command, in an order in which the cheapest doubt is settled first.
//!
//! All that is compiled for tests is compiled once: every cargo call names the whole workspace with all features, so that
//! features never differ from one call to the next. Which tests need an engine is written where the tests are: their target
//! has `required-features = ["engine-tests"]`.

mod count;
mod leftovers;
mod steps;
mod store;
mod targets;

use std::process::ExitCode;
use std::time::Instant;

use xtask::error::{Error, Result};
use xtask::reporter::{Reporter, seconds};

use self::count::Count;
use self::leftovers::Traces;
use self::targets::Targets;
use crate::engine::{self, Engine};

/// Runs what CI runs and stops at the first failure.
///
/// The last line of stdout is the sum of all tests: `N passed, N failed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what needs no container engine
    #[arg(long)]
    fast: bool,

    /// Start with this step
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    from: Option<Step>,

    /// Run this step alone
    #[arg(long, value_name = "STEP")]
    only: Option<Step>,
}

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Step {
    /// `cargo fmt --check`
    Format,
    /// `cargo clippy`, warnings denied
    Clippy,
    /// The house rules
    Tidy,
    /// `cargo doc`, warnings denied
    Docs,
    /// Compile all programs and tests
    Build,
    /// Tests that need no engine
    Tests,
    /// The store on disks that are full or fail, and how fast it is
    Store,
    /// Examples in documentation
    Doctests,
    /// Kill the daemon at any moment, for a few minutes
    Chaos,
    /// schemathesis against the HTTP API
    HttpApi,
    /// Find or start a container engine
    Engine,
    /// Build the images
    Image,
    /// Clients that others wrote against the MCP server
    Clients,
    /// The server's image, started by its compose file
    ServerImage,
    /// Tests on the engine: the runtime, the conformance suite, end to end
    EngineTests,
    /// The conformance suite on Podman
    Podman,
    /// The demo
    Demo,
    /// Nothing of ours is left behind
    Leftovers,
}

impl Step {
    const ALL: [Self; 18] = [
        Self::Format,
        Self::Clippy,
        Self::Tidy,
        Self::Docs,
        Self::Build,
        Self::Tests,
        Self::Store,
        Self::Doctests,
        Self::Chaos,
        Self::HttpApi,
        Self::Engine,
        Self::Image,
        Self::Clients,
        Self::ServerImage,
        Self::EngineTests,
        Self::Podman,
        Self::Demo,
        Self::Leftovers,
    ];

    fn needs_engine(self) -> bool {
        self >= Self::Engine && self < Self::Leftovers
    }
}

impl Args {
    fn wants(&self, step: Step) -> bool {
        let chosen = match (self.only, self.from) {
            (Some(only), _) => step == only,
            (None, Some(from)) => step >= from,
            (None, None) => true,
        };
        chosen && !(self.fast && step.needs_engine())
    }
}

/// What the steps share.
struct Run<'a> {
    reporter: &'a Reporter,
    count: Count,
    /// What was there before the first step that could leave something.
    before: Traces,
    targets: Option<Targets>,
    engine: Option<Engine>,
}

impl Run<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Format => steps::format(self),
            Step::Clippy => steps::clippy(self),
            Step::Tidy => crate::tidy::run(&crate::tidy::Args::default(), self.reporter),
            Step::Docs => steps::docs(self),
            Step::Build => steps::build(self),
            Step::Tests => steps::tests(self),
            Step::Store => store::check(self),
            Step::Doctests => steps::doctests(self),
            Step::Chaos => crate::chaos::short(self.reporter),
            Step::HttpApi => steps::http_api(self),
            Step::Engine => self.engine().map(drop),
            Step::Image => steps::image(self),
            Step::Clients => steps::clients(self),
            Step::ServerImage => steps::server_image(self),
            Step::EngineTests => steps::engine_tests(self),
            Step::Podman => steps::podman(self),
            Step::Demo => steps::demo(self),
            Step::Leftovers => leftovers::check(self.reporter, &self.before, self.engine.as_ref()),
        }
    }

    /// The engine, and with it a look at what is on it before any test has been there.
    fn engine(&mut self) -> Result<Engine> {
        if let Some(engine) = &self.engine {
            return Ok(engine.clone());
        }
        let step = self.reporter.step("container engine");
        let engine = engine::ensure(self.reporter)?;
        step.done(&engine.describe()?);
        self.before.look_at_engine(&engine)?;
        self.engine = Some(engine.clone());
        Ok(engine)
    }

    fn targets(&mut self) -> Result<&Targets> {
        if self.targets.is_none() {
            self.targets = Some(Targets::read()?);
        }
        self.targets
            .as_ref()
            .ok_or_else(|| Error::new("the workspace's targets were read and are gone"))
    }
}

/// Runs the steps. Says on stderr what failed, and on stdout how many tests there were.
pub(crate) fn run(args: &Args, reporter: &Reporter) -> ExitCode {
    let started = Instant::now();
    let mut count = Count::default();
    let outcome = steps(args, reporter, &mut count);
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.failure(&error);
            // A step without tests of its own that fails is a failure, too.
            count.failed = count.failed.max(1);
            ExitCode::FAILURE
        }
    };
    reporter.notice(&format!("in {}", seconds(started.elapsed())));
    reporter.data(&count.to_string());
    code
}

fn steps(args: &Args, reporter: &Reporter, count: &mut Count) -> Result<()> {
    let mut run = Run {
        reporter,
        count: Count::default(),
        before: Traces::of_host()?,
        targets: None,
        engine: None,
    };
    for step in Step::ALL.into_iter().filter(|step| args.wants(*step)) {
        let outcome = run.step(step);
        *count = run.count;
        outcome?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: &Args) -> Vec<Step> {
        Step::ALL.into_iter().filter(|step| args.wants(*step)).collect()
    }

    #[test]
    fn steps_are_chosen_in_their_order() {
        assert!(Step::ALL.is_sorted());
        let all = Args {
            fast: false,
            from: None,
            only: None,
        };
        assert_eq!(chosen(&all), Step::ALL);
        let from = Args {
            from: Some(Step::Demo),
            ..all
        };
        assert_eq!(chosen(&from), [Step::Demo, Step::Leftovers]);
        let only = Args {
            only: Some(Step::Docs),
            ..from
        };
        assert_eq!(chosen(&only), [Step::Docs]);
        let fast = Args {
            fast: true,
            from: Some(Step::Doctests),
            only: None,
        };
        assert_eq!(
            chosen(&fast),
            [Step::Doctests, Step::Chaos, Step::HttpApi, Step::Leftovers]
        );
    }
}
