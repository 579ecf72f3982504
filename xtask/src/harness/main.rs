//! The tasks that are linked with the product: the demo and the measurements.
//!
//! `cargo xtask demo` and `cargo xtask bench` build this program and run it; engine and image are there by then.

mod bench;
mod daemon;
mod demo;
mod hosts;
mod lab;
mod raw;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::error::{Context, Result};
use xtask::reporter::Reporter;
use xtask::tasks::{BenchArgs, DemoArgs};
use xtask::workspace;

/// Run by `cargo xtask demo` and `cargo xtask bench`, which make what it needs first.
#[derive(Debug, Parser)]
#[command(name = "harness", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Demo(DemoArgs),
    Bench(BenchArgs),
    /// Hold sessions until standard input ends, to be measured from outside
    #[command(hide = true)]
    Hold(HoldArgs),
    /// Be the parent of one MCP server; started by the gateway alone
    #[command(hide = true)]
    Supervise,
}

/// What a process that is measured is told.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// The state directory
    #[arg(long)]
    pub(crate) state: PathBuf,
    /// The scripted model
    #[arg(long)]
    pub(crate) model: String,
    /// How many sessions
    #[arg(long)]
    pub(crate) sessions: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before there are threads.
    if matches!(cli.task, Task::Supervise) {
        return ExitCode::from(u8::from(session_gateway::mcp::upstream::supervise().is_err()));
    }
    let reporter = Reporter::new();
    let host = workspace::env("DOCKER_HOST").unwrap_or_else(|| lab::DEFAULT_HOST.to_owned());
    match run(cli.task, &host, &reporter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task, host: &str, reporter: &Reporter) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context(|| "cannot start the asynchronous runtime".to_owned())?;
    runtime.block_on(async {
        match task {
            Task::Demo(args) => demo::run(&args, host, reporter).await,
            Task::Bench(args) => bench::run(&args, host, reporter).await,
            Task::Hold(args) => bench::hold(&args, host).await,
            // Done before there was a runtime.
            Task::Supervise => Ok(()),
        }
    })
}
