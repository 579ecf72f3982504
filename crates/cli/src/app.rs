//! From a command line to an exit status: parse, resolve, open, run, close.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind as ClapErrorKind;
use session_core::error::Result;
use session_core::runtime::{NetworkMode, ResourceLimits};
use session_core::session::{CreateSession, WorkspaceSource};

use crate::args::mcp::McpCommand;
use crate::args::{Cli, Command, RunArgs, SessionArgs, session};
use crate::browser;
use crate::commands::{self, ApplyMode, ConfigSettings, DoctorSettings, McpContext, RunSettings};
use crate::compose::{Backend, Opened};
use crate::console::{Console, Streams};
use crate::exit::ExitStatus;
use crate::failure::print_error;
use crate::logging::{self, LogSettings};
use crate::own_servers;
use crate::printer::Printer;
use crate::reference;
use crate::settings::env::{self, Environment};
use crate::settings::{ColorChoice, OutputSettings, Overrides, Settings};

/// How many threads a command gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One: the quickest start, and enough for what mostly waits.
    One,
    /// A few, for what moves many bytes or serves a model's stream beside its own work.
    Several,
}

/// A command line that could be read, with what it prints to.
#[derive(Debug)]
pub struct Invocation {
    cli: Cli,
    console: Console,
    current_dir: std::path::PathBuf,
}

impl Invocation {
    /// Reads a command line. `Err` when there is nothing more to do: help or a usage error was printed.
    ///
    /// # Errors
    /// The exit status of the process.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        environment: &dyn Environment,
        streams: Streams,
    ) -> Result<Self, ExitStatus> {
        let parsed = Cli::try_parse_from(args).and_then(Cli::checked);
        let global = parsed.as_ref().ok().map(|cli| cli.global.clone());
        let output = OutputSettings::resolve(
            global.as_ref().is_some_and(|global| global.json),
            global.as_ref().is_some_and(|global| global.quiet),
            global.as_ref().map_or(0, |global| global.verbose),
            global.as_ref().map_or(ColorChoice::Auto, |global| global.color),
            streams.terminals,
            environment,
        );
        let printer = Printer::new(streams.stdout, streams.stderr, output);
        let cli = parsed.map_err(|error| show_clap(&error, &printer))?;
        Ok(Self {
            cli,
            console: Console {
                printer,
                stdin: streams.stdin,
                raw_stdout: streams.raw_stdout,
                raw_stderr: streams.raw_stderr,
                catch_signals: streams.catch_signals,
                program: streams.program,
                time_zone: environment.text(env::TZ).ok().flatten(),
            },
            current_dir: streams.current_dir,
        })
    }

    /// How many threads the command wants.
    pub fn threads(&self) -> Threads {
        match self.cli.command {
            Command::Run(_)
            | Command::Create(_)
            | Command::Prompt(_)
            | Command::OwnTurn(_)
            | Command::Cp(_)
            | Command::Mcp(McpCommand::Serve(_)) => Threads::Several,
            _ => Threads::One,
        }
    }

    /// Runs the command.
    pub async fn run(mut self, environment: &dyn Environment, backend: &dyn Backend) -> ExitStatus {
        let printer = self.console.printer.clone();
        let ended = self.dispatch(environment, backend).await;
        printer.status(None);
        if printer.stdout_closed() {
            return ExitStatus::STDOUT_CLOSED;
        }
        ended.unwrap_or_else(|error| {
            print_error(&printer, &error);
            error.kind().into()
        })
    }

    async fn dispatch(&mut self, environment: &dyn Environment, backend: &dyn Backend) -> Result<ExitStatus> {
        let printer = &self.console.printer;
        match &self.cli.command {
            Command::Completions(args) => return commands::completions(args.shell, args.program, printer),
            Command::Man(args) => return commands::man(args.program, args.dir.as_deref(), printer),
            Command::Config(args) => {
                return commands::config(args, &self.config_settings(environment), &self.console);
            }
            Command::Help(args) => return commands::help(args.topic.as_deref(), printer),
            Command::Reference(args) => {
                printer.bytes(reference::markdown(args.program).as_bytes())?;
                return Ok(ExitStatus::SUCCESS);
            }
            _ => {}
        }
        logging::install(log_settings(environment, printer)?, printer);
        let browser = browser::program(environment);
        if let Command::Mcp(command) = &self.cli.command
            && !commands::needs_sessions(command)
        {
            let places = Settings::places(&self.overrides(), environment)?;
            let context = McpContext::new(&places, &self.current_dir, browser.as_ref());
            return Box::pin(commands::mcp(command, &context, &mut self.console)).await;
        }
        let settings = Settings::resolve(&self.overrides(), environment)?;
        if let Command::Doctor(args) = &self.cli.command {
            let doctor = DoctorSettings {
                image: args.image.clone(),
                trial: args.trial,
            };
            return commands::doctor(&doctor, &settings, backend, &self.console).await;
        }
        if matches!(self.cli.command, Command::Run(_)) {
            settings.require_model()?;
        }
        let opened = match backend.open(&settings).await {
            Ok(opened) => opened,
            Err(error) if self.speaks_for_a_program() => {
                print_error(&self.console.printer, &error);
                return Ok(ExitStatus::EXEC_FAILED);
            }
            Err(error) => return Err(error),
        };
        let ended = self.with_sessions(&settings, &opened).await;
        opened.close.await;
        ended
    }

    async fn with_sessions(&mut self, settings: &Settings, opened: &Opened) -> Result<ExitStatus> {
        let console = &mut self.console;
        let api = opened.api.as_ref();
        match &self.cli.command {
            Command::Run(args) => {
                let settings = run_settings(args, settings, &self.current_dir)?;
                Box::pin(commands::run(settings, api, console)).await
            }
            Command::Create(args) => {
                let request = session_request(args, settings, &self.current_dir)?;
                commands::create(request, api, console).await
            }
            Command::Prompt(args) => Box::pin(commands::prompt(args, settings, api, console)).await,
            Command::OwnTurn(args) => commands::own_turn(args, api, console).await,
            Command::Exec(args) => commands::exec(args.clone(), api, console).await,
            Command::Output(args) => commands::output(args, api, console).await,
            Command::Cp(args) => commands::cp(args, api, console).await,
            Command::Logs(args) => commands::logs(args, api, console).await,
            Command::Ls(args) => commands::ls(args, api, console).await,
            Command::Mcp(command) => {
                let context = McpContext::new(&settings.mcp, &self.current_dir, None);
                commands::mcp_with_sessions(command, &context, opened, console).await
            }
            Command::Egress(command) => commands::egress(command, api, console).await,
            Command::Usage(args) => commands::usage(args, api, console).await,
            Command::Inspect(args) => commands::inspect(&args.session, api, console).await,
            Command::Diff(args) => commands::diff(args, api, console).await,
            Command::Interrupt(args) => commands::interrupt(&args.session, api, console).await,
            Command::Pause(args) => commands::pause(&args.session, api, console).await,
            Command::Resume(args) => commands::resume(&args.session, api, console).await,
            Command::Rm(args) => commands::rm(&args.sessions, api, console).await,
            // These were answered before anything was opened.
            Command::Doctor(_)
            | Command::Completions(_)
            | Command::Config(_)
            | Command::Man(_)
            | Command::Help(_)
            | Command::Reference(_) => Ok(ExitStatus::SUCCESS),
        }
    }

    fn config_settings(&self, environment: &dyn Environment) -> ConfigSettings {
        let state_dir = self.cli.global.state_dir.as_ref();
        ConfigSettings {
            home: environment.get(env::HOME).map(Into::into),
            state_dir: state_dir.map(|dir| self.current_dir.join(dir)),
        }
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            state_dir: self.cli.global.state_dir.clone(),
            api_key_env: match &self.cli.command {
                Command::Run(args) => args.api_key_env.clone(),
                Command::Prompt(args) => args.api_key_env.clone(),
                Command::OwnTurn(args) => args.api_key_env.clone(),
                _ => None,
            },
        }
    }

    /// Whether the exit code is that of a program in a session, and ours must not be mistaken for it.
    fn speaks_for_a_program(&self) -> bool {
        matches!(self.cli.command, Command::Exec(_) | Command::Output(_))
    }
}

/// Help goes to standard output, a usage error to standard error.
pub(crate) fn show_clap(error: &clap::Error, printer: &Printer) -> ExitStatus {
    let asked_for = matches!(
        error.kind(),
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion
    );
    let paint = if asked_for {
        printer.paint()
    } else {
        printer.err_paint()
    };
    let text = if paint == crate::printer::Paint::new(true) {
        error.render().ansi().to_string()
    } else {
        error.render().to_string()
    };
    if !asked_for {
        printer.err_line(text.trim_end());
        return ExitStatus::USAGE;
    }
    match printer.bytes(text.as_bytes()) {
        Ok(()) => ExitStatus::SUCCESS,
        Err(_) if printer.stdout_closed() => ExitStatus::STDOUT_CLOSED,
        Err(error) => {
            print_error(printer, &error);
            error.kind().into()
        }
    }
}

/// What is said twice, by the variable and by `-v`, is decided by the variable.
fn log_settings(environment: &dyn Environment, printer: &Printer) -> Result<LogSettings> {
    match environment.text(env::COFFERDAM_LOG)? {
        Some(list) => LogSettings::of_list(&list, env::COFFERDAM_LOG),
        None => Ok(LogSettings::of_verbosity(printer.verbose())),
    }
}

fn run_settings(args: &RunArgs, settings: &Settings, current_dir: &Path) -> Result<RunSettings> {
    let mut session = session_request(&args.session, settings, current_dir)?;
    session.warm_agent = true;
    Ok(RunSettings {
        prompt: args.prompt.clone(),
        session,
        timeout: args.timeout,
        keep: args.keep,
        apply: if args.apply {
            ApplyMode::Always {
                executable_config: args.apply_executable_config,
            }
        } else if args.no_apply || args.prompt == "-" {
            // An answer cannot come from where the prompt came from.
            ApplyMode::Never
        } else {
            ApplyMode::Ask
        },
        state_dir: settings.state_dir.clone(),
    })
}

fn session_request(args: &SessionArgs, settings: &Settings, current_dir: &Path) -> Result<CreateSession> {
    let own = args.servers.mcp_config.as_ref();
    Ok(CreateSession {
        name: args.name.clone(),
        workspace: workspace(args, current_dir),
        image: args.image.clone(),
        network: match args.network {
            session::Network::Sealed | session::Network::Allow => NetworkMode::Sealed,
            session::Network::Open => NetworkMode::Open,
        },
        limits: limits(args),
        mounts: args
            .bind
            .iter()
            .cloned()
            .map(|mut mount| {
                mount.source = current_dir.join(&mount.source);
                mount
            })
            .collect(),
        model: args.model.clone().or_else(|| settings.model.clone()),
        small_model: args.small_model.clone(),
        allow: args.allow.clone(),
        budget: args.budget.budget(),
        env: args.env.iter().cloned().collect(),
        labels: args.label.iter().cloned().collect(),
        mcp_config: own
            .map(|file| own_servers::read(&current_dir.join(file)))
            .transpose()?,
        mcp: args.servers.selection(),
        ..CreateSession::default()
    })
}

fn workspace(args: &SessionArgs, current_dir: &Path) -> WorkspaceSource {
    if args.workspace.empty {
        return WorkspaceSource::Empty;
    }
    if let Some(url) = &args.workspace.clone {
        return WorkspaceSource::Clone {
            url: url.clone(),
            reference: args.workspace.reference.clone(),
        };
    }
    // `join` leaves an absolute path as it is. What the path means is judged by the manager, by handle.
    let path = match &args.workspace.workspace {
        Some(dir) => current_dir.join(dir),
        None => current_dir.to_owned(),
    };
    if args.workspace.mount {
        WorkspaceSource::Mount { path }
    } else {
        WorkspaceSource::Copy { path }
    }
}

fn limits(args: &SessionArgs) -> Option<ResourceLimits> {
    if args.memory.is_none() && args.cpus.is_none() && args.pids.is_none() {
        return None;
    }
    let usual = ResourceLimits::default();
    Some(ResourceLimits {
        memory_bytes: args.memory.unwrap_or(usual.memory_bytes),
        milli_cpus: args.cpus.unwrap_or(usual.milli_cpus),
        pids: args.pids.unwrap_or(usual.pids),
    })
}
