//! From a command line to an exit status: parse, resolve, open, run, close.

mod request;

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind as ClapErrorKind;
use session_core::error::Result;
use session_core::gateway::ProviderAccount;
use session_core::state_dir::StateDir;

use self::request::{run_settings, session_request};
use crate::args::mcp::McpCommand;
use crate::args::{Cli, Command, DetachStage, RestoreArgs};
use crate::browser;
use crate::commands::{self, ConfigSettings, DoctorSettings, McpContext};
use crate::compose::{Backend, Opened};
use crate::console::{Console, Streams};
use crate::daemon;
use crate::daemon::connect::{Told, Wish};
use crate::exit::ExitStatus;
use crate::failure::print_error;
use crate::logging::{self, LogSettings};
use crate::operator;
use crate::printer::Printer;
use crate::reference;
use crate::settings::env::{self, Environment};
use crate::settings::{self, ColorChoice, OutputSettings, Overrides, Settings, server};

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
                terminals: streams.terminals,
                catch_signals: streams.catch_signals,
                program: streams.program,
                time_zone: environment.text(env::TZ).ok().flatten(),
            },
            current_dir: streams.current_dir,
        })
    }

    /// How many threads the command wants. A client of the daemon mostly waits.
    pub fn threads(&self, environment: &dyn Environment) -> Threads {
        match self.cli.command {
            Command::Serve(_) | Command::OwnTurn(_) | Command::Cp(_) | Command::Mcp(McpCommand::Serve(_)) => {
                Threads::Several
            }
            Command::Run(_) | Command::Create(_) | Command::Prompt(_)
                if self.is_embedded(environment).unwrap_or(true) =>
            {
                Threads::Several
            }
            _ => Threads::One,
        }
    }

    /// Whether this process only starts the daemon that stays.
    pub fn leaves_daemon(&self) -> bool {
        matches!(&self.cli.command, Command::Serve(args) if args.detached == Some(DetachStage::Start))
    }

    /// What the daemon that stays is told.
    pub fn daemon_arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        if let Some(dir) = &self.cli.global.state_dir {
            arguments.extend(["--state-dir".into(), dir.clone().into_os_string()]);
        }
        if let Command::Serve(args) = &self.cli.command
            && let Some(name) = &args.api_key_env
        {
            arguments.extend(["--api-key-env".into(), name.into()]);
        }
        arguments
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
        if let Command::Serve(args) = &self.cli.command
            && !args.stop
        {
            return Box::pin(daemon::serve::run(
                args,
                self.overrides(),
                environment,
                &self.console,
            ))
            .await;
        }
        logging::install(log_settings(environment, printer)?, printer);
        if let Some(answered) = self.about_the_daemon(environment, backend).await {
            return answered;
        }
        let browser = browser::program(environment);
        if let Command::Mcp(command) = &self.cli.command
            && !commands::needs_sessions(command)
        {
            let places = Settings::places(&self.overrides(), environment)?;
            let context = McpContext::new(&places, &self.current_dir, browser.as_ref());
            return Box::pin(commands::mcp(command, &context, &mut self.console)).await;
        }
        self.over_sessions(environment, backend).await
    }

    /// What is asked of the daemon itself, or of its files.
    async fn about_the_daemon(
        &self,
        environment: &dyn Environment,
        backend: &dyn Backend,
    ) -> Option<Result<ExitStatus>> {
        let state_dir = || Settings::state_dir(&self.overrides(), environment);
        let console = &self.console;
        let answered = match &self.cli.command {
            Command::Serve(_) => match state_dir() {
                Ok(dir) => commands::stop(&dir, console).await,
                Err(error) => Err(error),
            },
            Command::Health => match state_dir() {
                Ok(dir) => commands::health(&dir, backend, console).await,
                Err(error) => Err(error),
            },
            Command::Backup(args) => match state_dir().and_then(|dir| StateDir::open(&dir)) {
                Ok(state) => self.backup(&args.file, &state, environment).await,
                Err(error) => Err(error),
            },
            Command::Restore(RestoreArgs {
                backup: Some(file), ..
            }) => match state_dir().and_then(|dir| StateDir::open(&dir)) {
                Ok(state) => {
                    let home = environment.get(env::HOME).map(std::path::PathBuf::from);
                    let policy = operator::place(home.as_deref(), environment);
                    let file = self.current_dir.join(file);
                    commands::restore_all(&file, &state, policy, console).await
                }
                Err(error) => Err(error),
            },
            Command::Token(command) => match state_dir().and_then(|dir| StateDir::open(&dir)) {
                Ok(state) => commands::token(command, &state, console).await,
                Err(error) => Err(error),
            },
            _ => return None,
        };
        Some(answered)
    }

    async fn backup(
        &self,
        file: &Path,
        state: &StateDir,
        environment: &dyn Environment,
    ) -> Result<ExitStatus> {
        let home = environment.get(env::HOME).map(std::path::PathBuf::from);
        let policy = operator::text(home.as_deref(), environment)?;
        commands::backup(&self.current_dir.join(file), state, policy, &self.console).await
    }

    /// What rests on sessions: by the daemon, or all in this process.
    async fn over_sessions(
        &mut self,
        environment: &dyn Environment,
        backend: &dyn Backend,
    ) -> Result<ExitStatus> {
        let embedded = self.is_embedded(environment)?;
        let mut overrides = self.overrides();
        // With a daemon, a key for one session goes with that session, and says nothing of the daemon.
        let own_key = !embedded
            && matches!(self.cli.command, Command::Run(_))
            && overrides.api_key_env.take().is_some();
        // What only asks the daemon reads no policy and no key: it shall be quick.
        let settings = if embedded || self.is_told() {
            Some(Settings::resolve(&overrides, environment)?)
        } else {
            None
        };
        let state_dir = match &settings {
            Some(settings) => settings.state_dir.clone(),
            None => Settings::state_dir(&overrides, environment)?,
        };
        let wish = Wish {
            state_dir: &state_dir,
            told: settings.as_ref().map(|settings| Told {
                settings,
                overrides: &overrides,
                environment,
                needs_model: !own_key && self.needs_model(),
            }),
            printer: &self.console.printer.clone(),
        };
        if let (Command::Doctor(args), Some(settings)) = (&self.cli.command, &settings) {
            let doctor = DoctorSettings {
                image: args.image.clone(),
                trial: args.trial,
                embedded,
            };
            return commands::doctor(&doctor, settings, wish, backend, &self.console).await;
        }
        let opened = match &settings {
            Some(settings) if embedded => {
                if self.needs_model() {
                    settings.require_model()?;
                }
                backend.open(settings).await
            }
            _ => backend.connect(wish).await,
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) if self.speaks_for_a_program() => {
                print_error(&self.console.printer, &error);
                return Ok(ExitStatus::EXEC_FAILED);
            }
            Err(error) => return Err(error),
        };
        let ended = self
            .with_sessions(settings.as_ref(), &state_dir, environment, &opened)
            .await;
        opened.close.await;
        ended
    }

    /// Whether everything is done in this process. What starts MCP servers of its own, or keeps a turn for a command that did
    /// without a daemon, always is.
    fn is_embedded(&self, environment: &dyn Environment) -> Result<bool> {
        let always = matches!(
            &self.cli.command,
            Command::OwnTurn(_) | Command::Mcp(McpCommand::Serve(_) | McpCommand::Test(_))
        );
        let said = server::switch(env::COFFERDAM_EMBEDDED, environment)?.unwrap_or_default();
        Ok(always || self.cli.global.embedded || said)
    }

    fn needs_model(&self) -> bool {
        matches!(self.cli.command, Command::Run(_) | Command::Prompt(_))
    }

    /// Whether it matters to the command what this process was told of models, policies and images.
    fn is_told(&self) -> bool {
        matches!(
            self.cli.command,
            Command::Run(_) | Command::Create(_) | Command::Prompt(_) | Command::Doctor(_)
        )
    }

    async fn with_sessions(
        &mut self,
        settings: Option<&Settings>,
        state_dir: &Path,
        environment: &dyn Environment,
        opened: &Opened,
    ) -> Result<ExitStatus> {
        let account = self.account(opened, environment)?;
        let overrides = self.overrides();
        let console = &mut self.console;
        let api = opened.api.as_ref();
        match &self.cli.command {
            Command::Run(args) => {
                let mut settings = run_settings(args, settings, state_dir, &self.current_dir)?;
                settings.session.account = account;
                Box::pin(commands::run(settings, api, console)).await
            }
            Command::Create(args) => {
                let mut request = session_request(&args.session, settings, &self.current_dir)?;
                request.idempotency_key.clone_from(&args.idempotency_key);
                commands::create(request, api, console).await
            }
            Command::Prompt(args) => Box::pin(commands::prompt(args, state_dir, opened, console)).await,
            Command::Attach(args) => Box::pin(commands::attach(args, api, console)).await,
            Command::OwnTurn(args) => commands::own_turn(args, api, console).await,
            Command::Exec(args) => commands::exec(args.clone(), api, console).await,
            Command::Output(args) => commands::output(args, api, console).await,
            Command::Cp(args) => commands::cp(args, api, console).await,
            Command::Logs(args) => commands::logs(args, api, console).await,
            Command::Ls(args) => commands::ls(args, api, console).await,
            Command::Mcp(command) => {
                let places = match settings {
                    Some(settings) => settings.mcp.clone(),
                    None => Settings::places(&overrides, environment)?,
                };
                let context = McpContext::new(&places, &self.current_dir, None);
                commands::mcp_with_sessions(command, &context, opened, console).await
            }
            Command::Egress(command) => commands::egress(command, api, console).await,
            Command::Usage(args) => commands::usage(args, api, console).await,
            Command::Inspect(args) => commands::inspect(&args.session, api, console).await,
            Command::Diff(args) => commands::diff(args, api, console).await,
            Command::Interrupt(args) => commands::interrupt(&args.session, api, console).await,
            Command::Pause(args) => commands::pause(&args.session, api, console).await,
            Command::Resume(args) => commands::resume(&args.session, api, console).await,
            Command::Renew(args) => commands::renew(&args.session, api, console).await,
            Command::Checkpoint(args) => commands::checkpoint(&args.session, api, console).await,
            Command::Checkpoints(args) => commands::checkpoints(&args.session, api, console).await,
            Command::Restore(args) => commands::restore(args, api, console).await,
            Command::Gc(args) => commands::gc(*args, api, console).await,
            Command::Audit(args) => commands::audit(args, api, console).await,
            Command::Rm(args) => commands::rm(&args.sessions, api, console).await,
            // These were answered before anything was opened.
            Command::Doctor(_)
            | Command::Serve(_)
            | Command::Token(_)
            | Command::Backup(_)
            | Command::Health
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

    /// The key that `run` was given for its session alone. With a daemon it goes with the request and stays in the daemon's
    /// memory; without one it is this process's own.
    fn account(&self, opened: &Opened, environment: &dyn Environment) -> Result<Option<ProviderAccount>> {
        match &self.cli.command {
            Command::Run(args) if opened.lasting => Ok(args
                .api_key_env
                .as_deref()
                .map(|name| settings::named_key(name, environment))
                .transpose()?
                .map(ProviderAccount::ApiKey)),
            _ => Ok(None),
        }
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            state_dir: self.cli.global.state_dir.clone(),
            api_key_env: match &self.cli.command {
                Command::Run(args) => args.api_key_env.clone(),
                Command::Serve(args) => args.api_key_env.clone(),
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
