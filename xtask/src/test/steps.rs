//! The steps that are runs of cargo, or of what cargo built.

use std::time::Duration;

use xtask::error::{Error, Result};
use xtask::process::{Tool, available};
use xtask::workspace;

use super::Run;
use super::count::Count;
use crate::apt;
use crate::clients;
use crate::deploy;
use crate::engine;
use crate::image;

/// All of it, always the same, so that nothing is compiled twice with other features.
pub(super) const EVERYTHING: [&str; 3] = ["--workspace", "--all-features", "--locked"];
/// No step takes longer unless it hangs; a cold release of the slowest machine that we know takes a third of it.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// One failing target hides none of the others: a run of minutes says all that is wrong at once.
pub(super) const KEEP_GOING: &str = "--no-fail-fast";
/// How much of a failed run is shown.
const SHOWN_LINES: usize = 120;

pub(super) fn format(run: &mut Run<'_>) -> Result<()> {
    let step = run.reporter.step("format");
    cargo(&["fmt", "--all", "--check"])
        .output()
        .map_err(|error| error.hint("run `cargo fmt --all`"))?;
    step.done("");
    Ok(())
}

pub(super) fn clippy(run: &mut Run<'_>) -> Result<()> {
    let mut step = run.reporter.step("clippy");
    cargo(&["clippy"])
        .args(EVERYTHING)
        .args(["--all-targets", "--quiet", "--", "-D", "warnings"])
        .run(|line| step.update(line))?;
    step.done("");
    Ok(())
}

pub(super) fn docs(run: &mut Run<'_>) -> Result<()> {
    let mut step = run.reporter.step("docs");
    cargo(&["doc", "--no-deps", "--document-private-items"])
        .args(EVERYTHING)
        // Private items are documented too, so links to them lead somewhere.
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links")
        .run(|line| step.update(line))?;
    step.done("");
    Ok(())
}

/// Programs as well as tests: tests run programs of ours, and the demo is one.
pub(super) fn build(run: &mut Run<'_>) -> Result<()> {
    let mut step = run.reporter.step("build");
    cargo(&["build", "--all-targets"])
        .args(EVERYTHING)
        .run(|line| step.update(line))?;
    step.done("");
    Ok(())
}

pub(super) fn tests(run: &mut Run<'_>) -> Result<()> {
    let fast = run.targets()?.fast.clone();
    let chosen = fast.iter().flat_map(|name| ["--test", name]);
    let tool = cargo(&["test", KEEP_GOING])
        .args(EVERYTHING)
        .args(["--lib", "--bins"])
        .args(chosen);
    counted(run, "tests", tool)
}

pub(super) fn doctests(run: &mut Run<'_>) -> Result<()> {
    let tool = cargo(&["test", KEEP_GOING]).args(EVERYTHING).arg("--doc");
    counted(run, "examples in the documentation", tool)
}

/// The session image, and the one that knows nothing of us.
pub(super) fn image(run: &mut Run<'_>) -> Result<()> {
    let engine = run.engine()?;
    let args = image::Args::default();
    image::session(&engine, &args, run.reporter)?;
    image::foreign(&engine, &args, run.reporter)?;
    Ok(())
}

/// As it was built for the tests, like what follows.
pub(super) fn http_api(run: &mut Run<'_>) -> Result<()> {
    if !clients::http_api_is_built() {
        build(run)?;
    }
    let tally = clients::http_api(run.reporter)?;
    judged(run, &tally)
}

/// As they were built for the tests: nothing is compiled for this again.
pub(super) fn clients(run: &mut Run<'_>) -> Result<()> {
    let engine = run.engine()?;
    if !clients::programs_are_built(&engine) {
        build(run)?;
    }
    let tally = clients::check(&engine, run.reporter)?;
    judged(run, &tally)
}

fn judged(run: &mut Run<'_>, tally: &clients::Tally) -> Result<()> {
    run.count += Count {
        passed: tally.passed,
        failed: tally.failures.len() as u64,
    };
    clients::verdict(tally)
}

/// As its users start it, by compose.
pub(super) fn server_image(run: &mut Run<'_>) -> Result<()> {
    let engine = run.engine()?;
    image::server::build(&engine, &image::Args::default(), run.reporter)?;
    let tally = deploy::check(&engine, run.reporter)?;
    run.count += Count {
        passed: tally.passed,
        failed: tally.failures.len() as u64,
    };
    deploy::verdict(&tally)
}

pub(super) fn engine_tests(run: &mut Run<'_>) -> Result<()> {
    let engine = run.engine()?;
    clients::install(Some(&engine), run.reporter)?;
    // The guide of the HTTP API is followed as it stands.
    let missing = ["curl", "jq"].into_iter().filter(|program| !available(program));
    apt::install(&missing.collect::<Vec<_>>(), run.reporter)?;
    // As with the other tests, all that is wrong is told at once.
    let mut failures = Vec::new();
    for name in run.targets()?.engine.clone() {
        let tool = cargo(&["test", KEEP_GOING])
            .args(EVERYTHING)
            .args(["--test", &name])
            .env("DOCKER_HOST", engine.host());
        failures.extend(counted(run, &format!("tests on the engine: {name}"), tool).err());
    }
    let last = failures.pop();
    for failure in &failures {
        run.reporter.failure(failure);
    }
    last.map_or(Ok(()), Err)
}

/// The same suite as on Docker, on an engine that only resembles it.
pub(super) fn podman(run: &mut Run<'_>) -> Result<()> {
    let docker = run.engine()?;
    let images = ["cofferdam-session:latest", "cofferdam-test-foreign:latest"];
    let podman = engine::podman::ensure(&docker, &images, run.reporter)?;
    let tool = cargo(&["test", KEEP_GOING])
        .args(EVERYTHING)
        .args(["--test", "docker_conformance", "--", "--engine"])
        .arg(format!("podman={}", podman.host()));
    let told = counted(run, "tests on another engine: Podman", tool);
    engine::podman::stop(run.reporter)?;
    told
}

/// The demo as it was built for the tests: nothing is compiled for it again.
pub(super) fn demo(run: &mut Run<'_>) -> Result<()> {
    let engine = run.engine()?;
    let mut step = run.reporter.step("demo");
    let harness = workspace::target().join("debug").join("harness");
    if !harness.is_file() {
        build(run)?;
    }
    Tool::new(harness)
        .arg("demo")
        .env("DOCKER_HOST", engine.host())
        .dir(workspace::root())
        .limit(LIMIT)
        .run(|line| step.update(line))?;
    step.done("every claim holds");
    Ok(())
}

pub(super) fn cargo(args: &[&str]) -> Tool {
    Tool::new(workspace::env("CARGO").unwrap_or_else(|| "cargo".to_owned()))
        .args(args)
        .dir(workspace::root())
        .limit(LIMIT)
}

/// Runs tests, counts them, and shows what failed ones said.
pub(super) fn counted(run: &mut Run<'_>, what: &str, tool: Tool) -> Result<()> {
    let mut step = run.reporter.step(what);
    let mut count = Count::default();
    let mut lines = Vec::new();
    let outcome = tool.run(|line| {
        step.update(line);
        if let Some(more) = Count::of_line(line) {
            count += more;
        }
        lines.push(line.to_owned());
    });
    run.count += count;
    match outcome {
        Ok(_) => {
            step.done(&count.to_string());
            Ok(())
        }
        Err(error) => Err(Error::new(error.to_string())
            .output(telling(&lines))
            .hint(format!(
                "run it alone with `cargo xtask test --from {}`",
                if what.contains("Podman") {
                    "podman"
                } else if what.contains("engine") {
                    "engine-tests"
                } else if what.contains("store") {
                    "store"
                } else {
                    "tests"
                }
            ))),
    }
}

/// What failed tests said, target by target, or the end of it all where no test did.
fn telling(lines: &[String]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in lines {
        inside |= line.trim() == "failures:";
        if inside {
            shown.push(line);
        }
        inside &= !line.trim().starts_with("test result:");
    }
    if shown.is_empty() {
        let from = lines.len().saturating_sub(SHOWN_LINES / 2);
        shown = lines[from..].iter().map(String::as_str).collect();
    }
    let cut = shown.len().saturating_sub(SHOWN_LINES);
    let mut text = shown[..shown.len() - cut].join("\n");
    if cut > 0 {
        text.push_str(&format!("\n… {cut} more lines"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_tests_said_is_shown_first() {
        let line = |text: &str| text.to_owned();
        let mut lines = vec![line("running 2 tests"); 500];
        lines.extend([line("failures:"), line("---- it stdout ----"), line("left: 1")]);
        assert_eq!(telling(&lines), "failures:\n---- it stdout ----\nleft: 1");
        lines.extend(vec![line("more"); 500]);
        let text = telling(&lines);
        assert!(text.starts_with("failures:"), "{text}");
        assert!(text.ends_with("383 more lines"), "{text}");
        assert_eq!(telling(&vec![line("x"); 500]).lines().count(), SHOWN_LINES / 2);
    }

    #[test]
    fn what_failed_in_each_target_is_shown_without_the_targets_between() {
        let lines = [
            "failures:",
            "first",
            "test result: FAILED. 0 passed; 1 failed",
            "test it ... ok",
            "test result: ok. 1 passed; 0 failed",
            "failures:",
            "second",
        ]
        .map(str::to_owned);
        assert_eq!(
            telling(&lines),
            "failures:\nfirst\ntest result: FAILED. 0 passed; 1 failed\nfailures:\nsecond"
        );
    }
}
