//! `session-init`: PID 1 of every session.
//!
//! It reaps zombies, starts commands under supervisors and ends whole trees of them, keeps their output until somebody
//! has it, moves files, and forwards loopback ports into the link. Hosts reach it over the link only: it dials their
//! sockets ([`links`]) or is reached through an exec ([`bridge`]); what it then does for them is in [`session`].
//!
//! Its programs are hostile and have its own user id. It can be asked to end by them, nothing else: it cannot be traced,
//! its memory and descriptors cannot be read, and a command that kills its supervisor loses what it started.

mod args;
mod bridge;
mod cgroup;
mod doors;
mod files;
mod init;
mod links;
mod process;
mod reap;
mod session;
mod spool;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use args::Command;

/// Exit code for a command line that makes no sense.
const USAGE_ERROR: u8 = 64;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            diagnose(&format!("{error}\n{}", args::USAGE));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let done = match command {
        Command::Init(settings) => init::run(&settings),
        Command::Bridge { session } => bridge::run(&session),
        Command::Supervise => process::supervise::run(),
        Command::Sit {
            program,
            name,
            arguments,
        } => return process::terminal::sit(&program, &name, &arguments),
        Command::Version => writeln!(io::stdout(), "session-init {}", env!("CARGO_PKG_VERSION")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            diagnose(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// One line for whoever reads the container's log. Nothing that fails here can be told to anybody.
fn diagnose(message: &str) {
    let _ = writeln!(io::stderr(), "session-init: {message}");
}
