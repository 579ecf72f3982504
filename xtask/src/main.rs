//! The project's own tasks: what a developer or CI needs besides `cargo build`.
//!
//! One module per command. Commands are plain functions that take a [`Reporter`], so that one task can call another (`demo`
//! calls `engine` and `image`). What needs the product is in another program, see [`product`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use xtask::reporter::Reporter;
use xtask::tasks::{BenchArgs, DemoArgs};

mod apt;
mod chaos;
mod clients;
mod deploy;
mod engine;
mod image;
mod product;
mod test;
mod tidy;

/// The project's tasks. Each says what it will do before it changes the machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Find, start or stop a container engine
    #[command(subcommand)]
    Engine(engine::Command),
    /// Build the default session image, cofferdam-session:latest
    Image(image::Args),
    Tidy(tidy::Args),
    Conformance(clients::Args),
    /// Install the MCP clients and servers that others published and the tests use
    Published,
    /// Run everything that CI runs
    Test(test::Args),
    Demo(DemoArgs),
    Bench(BenchArgs),
    Chaos(chaos::Args),
}

/// Exit status: 0 done, 1 the task failed (stderr says why and what to do), 2 the command line is wrong.
fn main() -> ExitCode {
    let cli = Cli::parse();
    let reporter = Reporter::new();
    let outcome = match cli.task {
        Task::Engine(command) => engine::run(command, &reporter),
        Task::Image(args) => image::run(&args, &reporter),
        Task::Tidy(args) => tidy::run(&args, &reporter),
        Task::Conformance(args) => clients::run(&args, &reporter),
        Task::Published => clients::install(None, &reporter),
        Task::Test(args) => return test::run(&args, &reporter),
        Task::Demo(args) => product::demo(&args, &reporter),
        Task::Bench(args) => product::bench(&args, &reporter),
        Task::Chaos(args) => chaos::run(&args, &reporter),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.failure(&error);
            ExitCode::FAILURE
        }
    }
}
