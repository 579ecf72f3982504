//! The house rules that no compiler checks: who may know whom, how long a file may be, what a document may claim.
//!
//! Each rule is a function from facts to findings; a finding names the place, the rule and the remedy.

mod dependencies;
mod documents;
mod faults;
mod sources;

use std::fmt;
use std::path::{Path, PathBuf};

use xtask::error::{Error, Result};
use xtask::reporter::{Reporter, Step};

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// A file, with its line where that helps, or a crate.
    place: String,
    /// What is wrong there, and what to do instead.
    rule: String,
}

impl Finding {
    fn new(place: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.rule)
    }
}

/// Check the house rules: dependencies, files, documents
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Check instead that this program, which is to be released, has no fault point in it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Checks every rule and reports all that is found.
pub(crate) fn run(args: &Args, reporter: &Reporter) -> Result<()> {
    if let Some(program) = &args.program {
        return check_program(program, reporter);
    }
    let step = reporter.step("house rules");
    let mut findings = dependencies::check()?;
    findings.extend(sources::check()?);
    findings.extend(documents::check()?);
    findings.extend(faults::check()?);
    judge(step, &findings)
}

/// Checks that nothing in a program lets it fail on order.
pub(crate) fn check_program(program: &Path, reporter: &Reporter) -> Result<()> {
    let step = reporter.step("no fault points");
    judge(step, &faults::check_program(program)?)
}

fn judge(step: Step, findings: &[Finding]) -> Result<()> {
    if findings.is_empty() {
        step.done("kept");
        return Ok(());
    }
    let text = findings
        .iter()
        .map(Finding::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    Err(Error::new(format!("{} house rules are broken", findings.len()))
        .output(text)
        .hint("the rules stand in CONTRIBUTING.md and docs/architecture.md"))
}
