//! From a command to the daemon: found, started when it is absent, replaced when it was told something else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_api::ServerInfo;
use http_client::HttpSessions;
use session_core::error::{Error, ErrorKind, Result};
use session_core::state_dir::StateDir;

use super::api::{DaemonApi, Defaults, Starter};
use super::identity;
use super::place::{self, Presence};
use crate::compose::Opened;
use crate::failure::print_warning;
use crate::printer::Printer;
use crate::settings::env::Environment;
use crate::settings::{Overrides, Settings};

/// How long a daemon that was told to end may take. It lets go of sessions and ends servers in order.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often it is looked whether it has.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client wants of the daemon.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// Whose daemon.
    pub state_dir: &'a Path,
    /// What this process was told, for commands to which it matters. Without it any daemon will do, and nothing is asked
    /// that the command itself does not ask.
    pub told: Option<Told<'a>>,
    /// Where a start is told.
    pub printer: &'a Printer,
}

/// What a client was told itself.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// All of it, resolved.
    pub settings: &'a Settings,
    /// The flags among it.
    pub overrides: &'a Overrides,
    /// The variables among it.
    pub environment: &'a dyn Environment,
    /// Whether the command is of no use without the model.
    pub needs_model: bool,
}

impl std::fmt::Debug for Wish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wish")
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told")
            .field("needs_model", &self.needs_model)
            .finish_non_exhaustive()
    }
}

/// Opens the lifecycle API of the daemon.
///
/// # Errors
/// `StateDirRefused` for a state directory or a socket that cannot be trusted, `InvalidArgument` when the model is needed
/// and nobody has a credential, and what keeps a daemon from being started.
pub async fn connect(wish: Wish<'_>) -> Result<Opened> {
    let state = StateDir::open(wish.state_dir)?;
    let socket = place::socket(&state)?;
    let sessions = HttpSessions::unix(&socket)?;
    let starter = Starter {
        state,
        socket,
        api_key_env: wish.told.and_then(|told| told.overrides.api_key_env.clone()),
    };
    if let Some(told) = wish.told {
        prepare(told, &starter, &sessions, wish.printer).await?;
    }
    let closing = sessions.clone();
    Ok(Opened {
        api: Arc::new(DaemonApi {
            sessions,
            starter,
            defaults: wish
                .told
                .map(|told| Defaults::of(told.settings))
                .unwrap_or_default(),
        }),
        servers: None,
        lasting: true,
        close: Box::pin(async move { closing.close().await }),
    })
}

/// Sees to it that the daemon is the one that this process would start.
async fn prepare(
    told: Told<'_>,
    starter: &Starter,
    sessions: &HttpSessions,
    printer: &Printer,
) -> Result<()> {
    if place::presence(&starter.socket)? == Presence::Answers {
        let info = sessions.server().await?;
        match judge(told, &starter.state, &info)? {
            Verdict::Ours => return Ok(()),
            Verdict::Keep(why) => {
                warn(&info, why, printer);
                return Ok(());
            }
            Verdict::Replace(why) => {
                tracing::debug!(
                    pid = info.pid,
                    "the daemon was started with other settings and has nothing to do"
                );
                match sessions.stop_if_idle().await {
                    // Somebody has begun something since it was asked.
                    Err(error) if error.kind() == ErrorKind::Busy => {
                        warn(&info, why, printer);
                        return Ok(());
                    }
                    Err(error) if http_client::is_not_reached(&error) => {}
                    asked => {
                        asked?;
                        is_gone(&starter.state).await?;
                    }
                }
            }
        }
    } else if told.needs_model {
        told.settings.require_model()?;
    }
    if let Some(pid) = starter.ensure().await?
        && printer.tells_a_person()
    {
        printer.note(printer.err_paint().dim(format_args!(
            "started the daemon (process {pid}); it leaves by itself when it has nothing to do"
        )));
    }
    Ok(())
}

/// What a client makes of the daemon that it finds.
enum Verdict {
    /// It is the one that the client would start.
    Ours,
    /// It is another one, and it stays.
    Keep(Difference),
    /// It is another one, and nobody needs it.
    Replace(Difference),
}

/// In what it is another one.
#[derive(Clone, Copy)]
enum Difference {
    Settings,
    Version,
}

fn judge(told: Told<'_>, state: &StateDir, info: &ServerInfo) -> Result<Verdict> {
    // Whoever brings no credential takes that of the daemon: somebody else has set it up for them.
    let brings = told.settings.reaches_model();
    let ours = identity::digests(state, told.settings, told.overrides, told.environment)?;
    let difference = if !ours.agree_with(info, brings) {
        Difference::Settings
    } else if info.version != env!("CARGO_PKG_VERSION") {
        Difference::Version
    } else {
        return Ok(Verdict::Ours);
    };
    // One that this client would start in its place could not do what is asked of it.
    let is_of_use = brings || !told.needs_model;
    if info.auto_started && !info.working && is_of_use {
        return Ok(Verdict::Replace(difference));
    }
    Ok(Verdict::Keep(difference))
}

fn warn(info: &ServerInfo, difference: Difference, printer: &Printer) {
    let what = match difference {
        Difference::Version => format!("is of version {}", crate::sanitize::one_line(&info.version)),
        Difference::Settings => {
            "was started with other settings (keys, policy, engine or MCP servers); they hold, not those of this command"
                .to_owned()
        }
    };
    print_warning(
        printer,
        &format!("the daemon (process {}) {what}", info.pid),
        Some("`cofferdam serve --stop` ends it, and the next command starts another one; sessions go on"),
    );
}

/// Asks the daemon to end, and waits until it has.
///
/// # Errors
/// `Busy` when it does not in time.
pub async fn stop(state: &StateDir, sessions: &HttpSessions) -> Result<()> {
    match sessions.stop().await {
        // It left in between.
        Err(error) if http_client::is_not_reached(&error) => return Ok(()),
        asked => asked?,
    }
    is_gone(state).await
}

/// Waits until a daemon that was told to end has.
async fn is_gone(state: &StateDir) -> Result<()> {
    // Its socket goes first, and the right to serve last.
    let gone = async {
        loop {
            match state.lock_serving() {
                Err(error) if error.kind() == ErrorKind::Busy => tokio::time::sleep(PAUSE).await,
                outcome => return outcome.map(drop),
            }
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .unwrap_or_else(|_late| {
            Err(Error::new(ErrorKind::Busy, "end the daemon", "it takes too long")
                .with_hint("its log says why: see the telemetry directory of the state directory"))
        })
}

/// What the daemon of a state directory says of itself, when one runs. None is started.
///
/// # Errors
/// `StateDirRefused`, and `LinkLost` when it does not answer.
pub async fn look(state_dir: &Path) -> Result<Option<ServerInfo>> {
    let state = StateDir::open(state_dir)?;
    let socket = place::socket(&state)?;
    if place::presence(&socket)? == Presence::Nobody {
        return Ok(None);
    }
    let sessions = HttpSessions::unix(&socket)?;
    let info = sessions.server().await;
    sessions.close().await;
    info.map(Some)
}
