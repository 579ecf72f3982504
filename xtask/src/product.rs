//! Hands `demo` and `bench` on to `harness`, the program of this package that is linked with the product.
//!
//! What they stand on is made here first: an engine, the image, and the program itself.

use xtask::error::Result;
use xtask::process::{Tool, available};
use xtask::reporter::Reporter;
use xtask::tasks::{BenchArgs, DemoArgs};
use xtask::workspace;

use crate::apt;
use crate::engine::{self, Engine};
use crate::image;
use crate::tidy;

/// How the product is compiled.
#[derive(Clone, Copy)]
enum Profile {
    /// Quickly.
    Dev,
    /// As it is used.
    Release,
}

impl Profile {
    fn dir(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Runs the demo.
pub(crate) fn demo(args: &DemoArgs, reporter: &Reporter) -> Result<()> {
    reporter.notice("Set-up");
    let engine = stand(reporter)?;
    let packages = [
        "--package",
        "xtask",
        "--package",
        "cli",
        "--bin",
        "harness",
        "--bin",
        "cofferdam",
    ];
    compile(Profile::Dev, &packages, reporter)?;
    hand_on(Profile::Dev, "demo", &args.to_args(), &engine)
}

/// Runs the measurements.
pub(crate) fn bench(args: &BenchArgs, reporter: &Reporter) -> Result<()> {
    let engine = stand(reporter)?;
    if !available("wrk") {
        reporter.notice("The load comes from wrk. This will now install it with apt-get.");
        apt::install(&["wrk"], reporter)?;
    }
    let packages = [
        "--package",
        "xtask",
        "--package",
        "cli",
        "--package",
        "session-gateway",
        "--example",
        "mcp_bench",
        "--bin",
        "harness",
        "--bin",
        "cofferdam",
        "--bin",
        "cofferdam-mcp",
    ];
    compile(Profile::Release, &packages, reporter)?;
    let folder = workspace::target().join(Profile::Release.dir());
    for program in ["cofferdam", "cofferdam-mcp"] {
        tidy::check_program(&folder.join(program), reporter)?;
    }
    hand_on(Profile::Release, "bench", &args.to_args(), &engine)
}

/// What the product stands on: an engine, and the image.
pub(crate) fn stand(reporter: &Reporter) -> Result<Engine> {
    let step = reporter.step("container engine");
    let engine = engine::ensure(reporter)?;
    step.done(&engine.describe()?);
    image::session(&engine, &image::Args::default(), reporter)?;
    Ok(engine)
}

fn compile(profile: Profile, what: &[&str], reporter: &Reporter) -> Result<()> {
    let mut step = reporter.step("compile");
    let mut cargo = Tool::new(workspace::env("CARGO").unwrap_or_else(|| "cargo".to_owned()))
        .args(["build", "--locked", "--features", "xtask/harness"])
        .args(what)
        .dir(workspace::root());
    if matches!(profile, Profile::Release) {
        cargo = cargo.arg("--release");
    }
    cargo.run(|line| step.update(line))?;
    step.done("");
    Ok(())
}

fn hand_on(profile: Profile, task: &str, args: &[String], engine: &Engine) -> Result<()> {
    Tool::new(workspace::target().join(profile.dir()).join("harness"))
        .arg(task)
        .args(args)
        .env("DOCKER_HOST", engine.host())
        .dir(workspace::root())
        .foreground()
}
