//! Campaigns against the daemon: killed at any moment, in all the ways that docs/reliability.md names.
//!
//! The program `chaos` does it and judges; here is what a campaign consists of, long and short.

use std::path::PathBuf;
use std::time::Duration;

use xtask::error::{Error, Result};
use xtask::process::Tool;
use xtask::reporter::Reporter;
use xtask::workspace;

use crate::apt;

/// The page on which a campaign is published.
const PAGE: &str = "docs/reliability.md";
/// The list of named points.
const POINTS: &str = "docs/reliability/fault-points.md";
/// Debian's package of the clock that jumps.
const FAKETIME: &str = "libfaketime";
/// What it is below one of the directories of `/usr/lib`, which is named after the machine's architecture.
const FAKETIME_FILE: &str = "faketime/libfaketime.so.1";
/// A part takes no longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(12 * 60 * 60);

/// Kills the daemon at any moment and checks that nothing was lost, run twice or left over.
///
/// Everything that chance decides is decided by the seed. Stops at the first world in which something is wrong, and shows its
/// history; `--world` runs that one alone. Exits 1 then.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Decides everything that chance decides
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// A few minutes of it, as `cargo xtask test` runs it
    #[arg(long)]
    short: bool,

    /// Only this part
    #[arg(long, value_name = "PART")]
    part: Option<Part>,

    /// Only the world of this seed
    #[arg(long, value_name = "SEED", requires = "part")]
    world: Option<u64>,

    /// Worlds at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,

    /// Write what was run to docs/reliability.md
    #[arg(long, conflicts_with_all = ["short", "world", "part"])]
    write: bool,
}

/// What a campaign consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Kills at random times
    Random,
    /// Kills at each named point
    Points,
    /// Kills while the engine hangs and goes away
    Storms,
    /// Kills while the engine restarts
    Restarts,
    /// Kills while the disk is full now and then; needs root
    FullDisk,
    /// Kills while the clock jumps; installs libfaketime
    Clocks,
    /// Kills of a Docker engine of its own, and of daemons; needs root and the session image
    EngineRestarts,
    /// Kills at random times on the Docker engine of this machine
    Docker,
    /// Kills at each named point that only a real engine and agent come to
    DockerPoints,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Random,
        Self::Points,
        Self::Storms,
        Self::Restarts,
        Self::FullDisk,
        Self::Clocks,
        Self::EngineRestarts,
        Self::Docker,
        Self::DockerPoints,
    ];
    /// What needs no engine and no privilege.
    const SHORT: [Self; 5] = [
        Self::Random,
        Self::Points,
        Self::Storms,
        Self::Restarts,
        Self::Clocks,
    ];

    fn args(self, short: bool) -> Vec<String> {
        let args: &[&str] = match (self, short) {
            (Self::Random, false) => &["random", "--kills", "10000"],
            (Self::Random, true) => &["random", "--kills", "400", "--seconds", "60"],
            (Self::Points, false) => &["points", "--list", POINTS, "--times", "100"],
            (Self::Points, true) => &["points", "--list", POINTS, "--times", "1"],
            (Self::Storms, false) => &["storms", "--kills", "1000"],
            (Self::Storms, true) => &["storms", "--kills", "100", "--seconds", "30"],
            (Self::Restarts, false) => &["restarts", "--kills", "500"],
            (Self::Restarts, true) => &["restarts", "--kills", "60", "--seconds", "30"],
            (Self::FullDisk, false) => &["full-disk", "--kills", "500"],
            (Self::FullDisk, true) => &["full-disk", "--kills", "60", "--seconds", "30"],
            (Self::Clocks, false) => &["clocks", "--kills", "1000"],
            (Self::Clocks, true) => &["clocks", "--kills", "60", "--seconds", "30"],
            (Self::EngineRestarts, false) => &["engine-restarts", "--kills", "100"],
            (Self::EngineRestarts, true) => &["engine-restarts", "--kills", "10", "--seconds", "60"],
            (Self::Docker, false) => &["docker", "--kills", "200"],
            (Self::Docker, true) => &["docker", "--kills", "20", "--seconds", "60"],
            (Self::DockerPoints, false) => &["points", "--real", "--list", POINTS, "--times", "5"],
            (Self::DockerPoints, true) => &["points", "--real", "--list", POINTS, "--times", "1"],
        };
        args.iter().map(|&arg| arg.to_owned()).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Random => "kills at random times",
            Self::Points => "kills at named points",
            Self::Storms => "kills while the engine hangs and goes away",
            Self::Restarts => "kills while the engine restarts",
            Self::FullDisk => "kills while the disk is full",
            Self::Clocks => "kills while the clock jumps",
            Self::EngineRestarts => "kills of a real engine and of daemons",
            Self::Docker => "kills on a real engine",
            Self::DockerPoints => "kills at named points on a real engine",
        }
    }
}

/// With what the programs are compiled.
#[derive(Clone, Copy, Debug)]
enum Profile {
    /// As the tests are, so that nothing is compiled twice.
    Dev,
    /// The same, optimised: ten thousand daemons start quicker.
    Chaos,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Chaos => "chaos",
        }
    }

    fn path(self, program: &str) -> PathBuf {
        let directory = match self {
            Self::Dev => "debug",
            Self::Chaos => "chaos",
        };
        workspace::target().join(directory).join(program)
    }
}

/// Runs a campaign.
pub(crate) fn run(args: &Args, reporter: &Reporter) -> Result<()> {
    let profile = if args.short { Profile::Dev } else { Profile::Chaos };
    build(profile, reporter)?;
    let results = workspace::state("chaos")?.join(format!("seed-{}.jsonl", args.seed));
    if args.write && results.exists() {
        std::fs::remove_file(&results).map_err(|error| Error::new("cannot begin anew").source(error))?;
    }
    let parts = Part::ALL
        .into_iter()
        .filter(|part| args.part.is_none_or(|only| only == *part));
    for part in parts {
        let mut tool = tool_of(part, args.short, profile, reporter)?.args(how(args));
        if args.write {
            tool = tool.arg("--results").arg(&results);
        }
        judged(part, tool, profile, reporter)?;
    }
    if args.write {
        program(profile, "chaos")
            .args(["report", "--page", PAGE, "--results"])
            .arg(&results)
            .foreground()?;
    }
    Ok(())
}

/// The short campaign, with what was built for the tests.
pub(crate) fn short(reporter: &Reporter) -> Result<()> {
    let profile = Profile::Dev;
    if !profile.path("chaos").is_file() || !profile.path("cofferdam").is_file() {
        build(profile, reporter)?;
    }
    for part in Part::SHORT {
        judged(part, tool_of(part, true, profile, reporter)?, profile, reporter)?;
    }
    Ok(())
}

/// What runs a part, with what it needs.
fn tool_of(part: Part, short: bool, profile: Profile, reporter: &Reporter) -> Result<Tool> {
    let tool = program(profile, "chaos").args(part.args(short));
    if part != Part::Clocks {
        return Ok(tool);
    }
    if faketime().is_none() {
        apt::install(&[FAKETIME], reporter)?;
    }
    let library = faketime().ok_or_else(|| {
        Error::new(format!("{FAKETIME} is not installed"))
            .hint("install it, or run the other parts with `--part`")
    })?;
    Ok(tool.arg("--library").arg(library))
}

fn faketime() -> Option<PathBuf> {
    let directories = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    directories
        .map(|directory| directory.path().join(FAKETIME_FILE))
        .find(|file| file.is_file())
}

fn how(args: &Args) -> Vec<String> {
    let mut how = vec![
        "--seed".to_owned(),
        args.seed.to_string(),
        "--jobs".to_owned(),
        args.jobs.to_string(),
    ];
    how.extend(
        args.world
            .iter()
            .flat_map(|world| ["--world".to_owned(), world.to_string()]),
    );
    how
}

fn judged(part: Part, tool: Tool, profile: Profile, reporter: &Reporter) -> Result<()> {
    let mut step = reporter.step(part.name());
    let mut last = String::new();
    let program = profile.path("cofferdam");
    tool.arg("--program")
        .arg(&program)
        .dir(workspace::root())
        .limit(LIMIT)
        .run(|line| {
            step.update(line);
            line.clone_into(&mut last);
        })?;
    step.done(&last);
    Ok(())
}

/// The daemon with its named points, and what kills it. The whole workspace with all features, as for the tests.
fn build(profile: Profile, reporter: &Reporter) -> Result<()> {
    let mut step = reporter.step("compile");
    Tool::new(workspace::env("CARGO").unwrap_or_else(|| "cargo".to_owned()))
        .args(["build", "--workspace", "--all-features", "--locked"])
        .args(["--profile", profile.name()])
        .args(["--bin", "cofferdam", "--bin", "chaos"])
        .dir(workspace::root())
        .run(|line| step.update(line))?;
    step.done("");
    Ok(())
}

fn program(profile: Profile, name: &str) -> Tool {
    Tool::new(profile.path(name)).dir(workspace::root())
}
