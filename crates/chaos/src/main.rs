//! Kills the daemon at any moment and checks that nothing was lost, run twice or left over.
//!
//! `cargo xtask chaos` builds this program and the daemon and runs it; docs/reliability.md says what is promised and what was
//! run. An in-memory engine lives in this process, the real `cofferdam serve` in another one, and clients ask it through its
//! socket. The daemon is killed again and again, at random times or at named points; clients repeat what broke off, with the same
//! key. In the end a [`model`] judges every history.

mod campaign;
mod chores;
mod client;
mod clock;
mod daemon;
mod dice;
mod disk;
mod ending;
mod engine;
mod model;
mod points;
mod report;
mod trouble;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::campaign::{Campaign, Kind};

/// Run by `cargo xtask chaos`, which builds the daemon first.
#[derive(Debug, Parser)]
#[command(name = "chaos", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    kind: Command,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill daemons at random times
    Random {
        /// How many
        #[arg(long, default_value_t = 1000)]
        kills: u64,
    },
    /// The same, on an engine that hangs and goes away
    Storms {
        /// How many
        #[arg(long, default_value_t = 200)]
        kills: u64,
    },
    /// The same, on an engine that restarts
    Restarts {
        /// How many
        #[arg(long, default_value_t = 200)]
        kills: u64,
    },
    /// The same, with a state directory on a file system that is full now and then; for root
    FullDisk {
        /// How many
        #[arg(long, default_value_t = 200)]
        kills: u64,
    },
    /// The same, with a clock that jumps
    Clocks {
        /// How many
        #[arg(long, default_value_t = 200)]
        kills: u64,
        /// libfaketime
        #[arg(long)]
        library: PathBuf,
    },
    /// The same with the real agent, on a Docker engine of its own that is killed too; for root
    EngineRestarts {
        /// How many
        #[arg(long, default_value_t = 100)]
        kills: u64,
    },
    /// Kill daemons at random times, on the Docker engine of this machine
    Docker {
        /// How many
        #[arg(long, default_value_t = 200)]
        kills: u64,
    },
    /// Kill daemons at named points
    Points {
        /// The points, one `name` between backticks at the beginning of a row of a table
        #[arg(long)]
        list: PathBuf,
        /// How often each
        #[arg(long, default_value_t = 100)]
        times: u64,
        /// Those of a real engine, on the Docker engine of this machine
        #[arg(long)]
        real: bool,
    },
    /// Write what was run into a page
    Report {
        /// The page
        #[arg(long)]
        page: PathBuf,
    },
}

#[derive(Debug, Args)]
struct How {
    /// `cofferdam`, built with the feature `faults`
    #[arg(long, global = true, default_value = "target/debug/cofferdam")]
    program: PathBuf,
    /// Decides everything that chance decides
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Only the world of this seed, to see again what went wrong in it
    #[arg(long, global = true)]
    world: Option<u64>,
    /// Worlds at once
    #[arg(long, global = true, default_value_t = 2)]
    jobs: usize,
    /// Begin no further world after so many seconds
    #[arg(long, global = true)]
    seconds: Option<u64>,
    /// Clients run no commands
    #[arg(long, global = true)]
    no_commands: bool,
    /// Add a line for each world to this file
    #[arg(long, global = true)]
    results: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was wrong.
fn run(cli: Cli) -> std::io::Result<bool> {
    let kind = match cli.kind {
        Command::Random { kills } => Kind::Random { kills },
        Command::Storms { kills } => Kind::Storms { kills },
        Command::Restarts { kills } => Kind::Restarts { kills },
        Command::FullDisk { kills } => Kind::FullDisk { kills },
        Command::Clocks { kills, library } => Kind::Clocks { kills, library },
        Command::EngineRestarts { kills } => Kind::EngineRestarts { kills },
        Command::Docker { kills } => Kind::Docker { kills },
        Command::Points { list, times, real } => Kind::Points {
            names: points::listed(&std::fs::read_to_string(list)?, real),
            times,
            real,
        },
        Command::Report { page } => {
            let results = cli.how.results.unwrap_or_else(|| PathBuf::from("results.jsonl"));
            return report::write(&results, &page).map(|()| true);
        }
    };
    let campaign = Campaign {
        program: std::path::absolute(&cli.how.program)?,
        kind,
        seed: cli.how.seed,
        jobs: cli.how.jobs.max(1),
        limit: cli.how.seconds.map(Duration::from_secs),
        commands: !cli.how.no_commands,
        results: cli.how.results,
        world: cli.how.world,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let wrong = runtime.block_on(campaign.run(say))?;
    for outcome in &wrong {
        say(&format!(
            "wrong in the world {} of the seed {}:",
            outcome.seed, campaign.seed
        ));
        for line in &outcome.wrong {
            say(&format!("  {line}"));
        }
    }
    Ok(wrong.is_empty())
}

#[expect(clippy::print_stderr, reason = "it is a program for people and tests")]
fn say(line: &str) {
    eprintln!("{line}");
}
