//! The reference of our programs, made from the definitions that they themselves use.
//!
//! `cofferdam __reference` prints it; `docs/reference` holds it, and a test fails when a file there is stale.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::args::Program;
use crate::exit::ExitStatus;
use crate::settings::env::{self, EnvVar, Readers};

/// The whole reference of a program as Markdown.
pub fn markdown(program: Program) -> String {
    let mut root = program.command();
    root.build();
    let (title, guide) = match program {
        Program::Cofferdam => ("Command line reference", "../guides/cli.md"),
        Program::CofferdamMcp => ("Reference of the MCP server's program", "../guides/mcp.md"),
    };
    let name = program.name();
    let mut text = format!(
        "# {title}\n\n<!-- Made by `cofferdam __reference {name}`; do not edit. -->\n\n\
         See [the guide]({guide}) for how things fit together.\n",
    );
    section(&mut text, &root, 2);
    for command in root.get_subcommands() {
        sections(&mut text, command, 2);
    }
    let _ = write!(
        text,
        "\n## Environment\n\n| variable | meaning |\n|---|---|\n{}",
        rows(variables(program).map(|variable| (format!("`{}`", variable.name), variable.help)))
    );
    let _ = write!(
        text,
        "\n## Exit codes\n\n| code | meaning |\n|---|---|\n{}",
        rows(codes(program).map(|(status, meaning)| (status.code().to_string(), *meaning)))
    );
    text
}

fn variables(program: Program) -> impl Iterator<Item = &'static EnvVar> {
    env::REGISTRY
        .iter()
        .filter(move |variable| match variable.readers {
            Readers::All => true,
            Readers::Cofferdam => program == Program::Cofferdam,
            Readers::CofferdamMcp => program == Program::CofferdamMcp,
        })
}

/// The server ends of itself for few reasons; what goes wrong with sessions, its clients are told.
fn codes(program: Program) -> impl Iterator<Item = &'static (ExitStatus, &'static str)> {
    const OF_SERVER: [ExitStatus; 5] = [
        ExitStatus::SUCCESS,
        ExitStatus::USAGE,
        ExitStatus::HOST,
        ExitStatus::INTERNAL,
        ExitStatus::INTERRUPTED,
    ];
    ExitStatus::ALL
        .iter()
        .filter(move |(status, _)| program == Program::Cofferdam || OF_SERVER.contains(status))
}

/// The environment for a terminal.
pub fn environment() -> String {
    let mut text = String::from("Environment variables that cofferdam reads:\n");
    for variable in variables(Program::Cofferdam) {
        let _ = write!(text, "\n  {}\n      {}", variable.name, variable.help);
    }
    text
}

/// The exit codes for a terminal.
pub fn exit_codes() -> String {
    let mut text = String::from("Exit codes of cofferdam:\n");
    for (status, meaning) in ExitStatus::ALL {
        let _ = write!(text, "\n  {:>3}  {meaning}", status.code());
    }
    text += "\n\nexec and output end with the program's own code, 128 plus the number of the signal that ended it, or one of \
             124 to 127 as above.";
    text
}

/// A command and those below it.
fn sections(text: &mut String, command: &Command, level: usize) {
    if command.is_hide_set() {
        return;
    }
    section(text, command, level);
    // clap's own `help` of a group is nothing of its own.
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        sections(text, below, level + 1);
    }
}

fn section(text: &mut String, command: &Command, level: usize) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_long_about().or(command.get_about());
    let _ = write!(text, "\n{} `{name}`\n", "#".repeat(level));
    if let Some(about) = about {
        let _ = write!(text, "\n{about}\n");
    }
    let aliases: Vec<_> = command
        .get_visible_aliases()
        .map(|alias| format!("`{alias}`"))
        .collect();
    if !aliases.is_empty() {
        let _ = write!(text, "\nAlso: {}.\n", aliases.join(", "));
    }
    let usage = command.clone().render_usage().to_string();
    let _ = write!(
        text,
        "\n```text\n{}\n```\n",
        usage.trim_start_matches("Usage:").trim()
    );
    let is_root = !name.contains(' ') && command.get_subcommands().next().is_some();
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && (is_root || !arg.is_global_set()))
        .filter(|arg| is_root || !matches!(arg.get_id().as_str(), "help" | "version"))
        .collect();
    if !own.is_empty() {
        let listed = rows(
            own.iter()
                .map(|arg| (format!("`{}`", signature(arg)), help_of(arg))),
        );
        let _ = write!(text, "\n| argument | meaning |\n|---|---|\n{listed}");
    }
}

fn signature(arg: &Arg) -> String {
    let values = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())
        .map(|names| {
            names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        });
    if arg.is_positional() {
        return values.unwrap_or_else(|| arg.get_id().to_string());
    }
    let flags: Vec<String> = arg
        .get_short()
        .map(|short| format!("-{short}"))
        .into_iter()
        .chain(arg.get_long().map(|long| format!("--{long}")))
        .collect();
    match values {
        Some(values) => format!("{} {values}", flags.join(", ")),
        None => flags.join(", "),
    }
}

fn help_of(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| arg.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        text += &format!(" ({})", values.join(", "));
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .filter(|_| arg.get_action().takes_values())
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if !defaults.is_empty() {
        text += &format!(" [default: {}]", defaults.join(", "));
    }
    text
}

fn rows<T: std::fmt::Display>(pairs: impl Iterator<Item = (String, T)>) -> String {
    pairs
        .map(|(left, right)| {
            format!(
                "| {left} | {} |\n",
                right.to_string().replace('|', "\\|").replace('\n', " ")
            )
        })
        .collect()
}
