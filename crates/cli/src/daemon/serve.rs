//! The daemon's life: alone, found, serving, and in order to its end.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use http_api::ServerInfo;
use http_frontend::caller::Caller;
use http_frontend::tokens::TokenFile;
use http_frontend::{
    CompatOptions, HttpOptions, HttpServer, Listeners, Mounted, PreparedServer, ServerControl, TlsConfig,
    bind_socket,
};
use jiff::Timestamp;
use mcp_frontend::{McpOptions, McpServer, ServiceOptions, Toolset};
use serde::Serialize;
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use session_core::manager::SessionManager;
use session_core::session::SessionFilter;
use session_core::state_dir::{ServingLock, StateDir};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::identity::Digests;
use super::ready::Started;
use super::settings::{self, ServeSettings};
use super::{identity, idle, place, start};
use crate::args::{DetachStage, ServeArgs};
use crate::compose;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::print_warning;
use crate::interrupts::Interrupts;
use crate::logging::{self, BoundedFile};
use crate::settings::Overrides;
use crate::settings::env::Environment;

const OPERATION: &str = "serve";
/// Where MCP clients find it.
const MCP_PATH: &str = "/mcp";
/// Where in the state directory the older interface keeps the tasks that it accepted.
const COMPAT_TASKS: &str = "compat-tasks";
const NO_LOG_FILE: &str =
    "the log is on standard error alone; LOGS_PATH has to be a directory that the server's user may write";

/// What is said on standard output when clients can come, for `--json`.
#[derive(Debug, Serialize)]
struct Ready<'a> {
    event: &'static str,
    pid: u32,
    socket: &'a std::path::Path,
    addresses: &'a [String],
}

/// Serves until a signal, a client or idleness ends it. A second signal ends the process at once.
///
/// # Errors
/// `InvalidArgument` for settings that cannot be used, `Busy` when another process serves the state directory, and those of
/// opening it and of listening.
pub async fn run(
    args: &ServeArgs,
    overrides: Overrides,
    environment: &dyn Environment,
    console: &Console,
) -> Result<ExitStatus> {
    let detached = args.detached == Some(DetachStage::Stay);
    if detached {
        start::leave_terminal();
    }
    let ended = Box::pin(serve(args, overrides, environment, console)).await;
    match ended {
        // Whoever started it reads this, and nobody reads standard error.
        Err(error) if detached => {
            tracing::error!(%error, "the daemon cannot serve");
            console.printer.object(&Started::Refused(error.report()))?;
            Ok(error.kind().into())
        }
        ended => ended,
    }
}

async fn serve(
    args: &ServeArgs,
    overrides: Overrides,
    environment: &dyn Environment,
    console: &Console,
) -> Result<ExitStatus> {
    let log = settings::log(args, console.printer.verbose(), environment)?;
    let settings = ServeSettings::resolve(args, overrides, environment)?;
    let state = StateDir::open(&settings.base.state_dir)?;
    let file = match log_file(&settings, &state) {
        // Standard error has all of it: no reason to leave the sessions without their server.
        Err(error) if !settings.auto_started => {
            print_warning(&console.printer, &error.to_string(), Some(NO_LOG_FILE));
            None
        }
        file => file?,
    };
    logging::install_for_server(log, &console.printer, file, settings.auto_started);
    for remark in &settings.remarks {
        print_warning(&console.printer, remark, None);
    }
    let interrupts = (console.catch_signals)()?;
    let daemon = Daemon::open(settings, state, environment).await?;
    daemon.tell_ready(console)?;
    daemon.serve(interrupts).await
}

/// Where the log is kept besides standard error; of a daemon that a client started, where it is kept at all.
fn log_file(settings: &ServeSettings, state: &StateDir) -> Result<Option<BoundedFile>> {
    let path = match &settings.logs {
        _ if settings.auto_started => start::log_path(state)?,
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|source| {
                Error::new(ErrorKind::HostIo, "keep the log", "its directory cannot be made")
                    .with_context("path", dir.display())
                    .with_context("cause", &source)
                    .with_source(source)
            })?;
            settings::log_file(dir)
        }
        None => return Ok(None),
    };
    BoundedFile::open(&path).map(Some)
}

/// Everything that serves, before it does.
struct Daemon {
    settings: ServeSettings,
    manager: SessionManager,
    control: Arc<Control>,
    server: PreparedServer,
    addresses: Vec<String>,
    socket: PathBuf,
    /// What makes it the only one. Let go of last.
    lock: ServingLock,
}

impl Daemon {
    async fn open(settings: ServeSettings, state: StateDir, environment: &dyn Environment) -> Result<Self> {
        let lock = state.lock_serving().map_err(explain)?;
        fail::fail_point!("cli.serve.locked", |_| session_core::fault::host(OPERATION));
        let socket = place::socket(&state)?;
        idle::remove_leftover(&socket);
        // Addresses that cannot be used are told before anything is opened.
        let (tcp, addresses) = listen(&settings).await?;
        let digests = identity::digests(&state, &settings.base, &settings.overrides, environment)?;
        let mut options = http_options(&settings, &state)?;
        fail::fail_point!("cli.serve.compose", |_| session_core::fault::host(OPERATION));
        let (manager, _servers) = compose::manage(&settings.base, state.clone()).await?;
        options.audit = Some(manager.audit_log());
        let control = Arc::new(Control {
            manager: manager.clone(),
            started_at: Timestamp::now(),
            digests,
            auto_started: settings.auto_started,
            stop: CancellationToken::new(),
        });
        let server = HttpServer::new(Arc::new(manager.clone()), options, control.clone())
            .with_route(MCP_PATH, mcp(&settings));
        fail::fail_point!("cli.serve.bind");
        let unix = match bind_socket(&socket, &lock) {
            Ok(unix) => unix,
            Err(error) => {
                manager.shutdown().await;
                return Err(error);
            }
        };
        fail::fail_point!("cli.serve.bound");
        let listeners = Listeners {
            unix: Some(unix),
            tcp,
        };
        let server = match server.prepare(listeners) {
            Ok(server) => server,
            Err(error) => {
                manager.shutdown().await;
                return Err(error);
            }
        };
        Ok(Self {
            settings,
            manager,
            control,
            server,
            addresses,
            socket,
            lock,
        })
    }

    /// One line, for whoever waits for it.
    fn tell_ready(&self, console: &Console) -> Result<()> {
        fail::fail_point!("cli.serve.ready");
        let (printer, pid) = (&console.printer, std::process::id());
        tracing::info!(pid, socket = %self.socket.display(), addresses = ?self.addresses, "ready");
        if self.settings.auto_started {
            printer.object(&Started::Ready { pid })?;
            start::let_go_of_client();
            return Ok(());
        }
        if printer.json() {
            return printer.object(&Ready {
                event: "ready",
                pid,
                socket: &self.socket,
                addresses: &self.addresses,
            });
        }
        let places =
            std::iter::once(format!("unix:{}", self.socket.display())).chain(self.addresses.iter().cloned());
        printer.line(format_args!("ready: {}", places.collect::<Vec<_>>().join(" ")))
    }

    async fn serve(self, mut interrupts: Interrupts) -> Result<ExitStatus> {
        let Self {
            settings,
            manager,
            control,
            server,
            socket,
            lock,
            ..
        } = self;
        let stop = control.stop.clone();
        let connections = server.connections();
        let serving = async {
            let stopped = stop.clone();
            server.run(async move { stopped.cancelled().await }).await;
            fail::fail_point!("cli.serve.stopping");
            stop.cancel();
            manager.shutdown().await;
        };
        let idle = async {
            if let Some(after) = settings.idle_exit
                && idle::leave_when_idle(after, &socket, connections, || {
                    manager.at_work() || manager.keeps_time()
                })
                .await
            {
                tracing::info!("nothing to do any more");
                stop.cancel();
            }
            std::future::pending::<()>().await;
        };
        tokio::pin!(serving, idle);
        let ended = loop {
            // What serves and what watches are kept outside of the loop, and a signal that came is told by its stream once.
            tokio::select! {
                () = &mut serving => break Ok(ExitStatus::SUCCESS),
                Some(signal) = interrupts.next() => {
                    if stop.is_cancelled() {
                        return Ok(ExitStatus::of_signal(signal.number()));
                    }
                    tracing::info!("told to end");
                    stop.cancel();
                }
                () = &mut idle => {}
            }
        };
        fail::fail_point!("cli.serve.stopped");
        drop(lock);
        ended
    }
}

/// The process that serves, as its clients see it.
struct Control {
    manager: SessionManager,
    started_at: Timestamp,
    digests: Digests,
    auto_started: bool,
    stop: CancellationToken,
}

#[async_trait]
impl ServerControl for Control {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            settings: self.digests.whole.clone(),
            settings_without_credentials: self.digests.without_credentials.clone(),
            auto_started: self.auto_started,
            working: self.manager.at_work(),
        }
    }

    fn stop(&self) {
        self.stop.cancel();
    }

    async fn ready(&self) -> Result<()> {
        self.manager.list(SessionFilter::default()).await?;
        self.manager.probe().await.map(drop)
    }
}

/// The MCP endpoint of one caller, over the sessions that they may see. The tools about the configuration of MCP servers are
/// not among it: what runs on this host is for its operator, at `cofferdam mcp` and `cofferdam-mcp`. Nor are those that touch
/// files of this host, unless they are the caller's to touch.
fn mcp(
    settings: &ServeSettings,
) -> impl Fn(&Caller, Arc<dyn SessionApi>, CancellationToken) -> Mounted + Send + Sync + 'static {
    let mut options = McpOptions::new(compose::host_paths(&settings.base));
    options.toolsets = [Toolset::Sessions].into();
    options.default_limits = settings.base.limits.unwrap_or_default();
    if let Some(limit) = settings.task_timeout {
        options.prompt_timeout = limit;
    }
    move |caller, api, stop| {
        let options = for_caller(&options, caller);
        let service = McpServer::new(api, options).into_service(ServiceOptions::default());
        let ending = service.clone();
        Mounted::new(service, async move {
            stop.cancelled().await;
            ending.close().await;
        })
    }
}

fn for_caller(options: &McpOptions, caller: &Caller) -> McpOptions {
    let mut options = options.clone();
    options.host = options.host.filter(|_| caller.may_touch_host());
    options
}

fn compat_options(settings: &ServeSettings, state: &StateDir) -> Result<CompatOptions> {
    let tasks = Arc::new(state.private_dir(COMPAT_TASKS)?);
    let mut options = CompatOptions::new(settings.projects.clone(), tasks);
    options.claude_code_version = compose::AGENT_VERSION.to_owned();
    if let Some(limits) = settings.base.limits {
        options.limits = limits;
    }
    if let Some(limit) = settings.task_timeout {
        options.timeout = limit;
    }
    if let Some(most) = settings.max_tasks {
        options.max_concurrent_tasks = most;
    }
    Ok(options)
}

fn http_options(settings: &ServeSettings, state: &StateDir) -> Result<HttpOptions> {
    let mut options = HttpOptions {
        tokens: Some(TokenFile::of(state)),
        operator_key: settings
            .api_key
            .clone()
            .map(|secret| (crate::settings::env::MCP_API_KEY.name.to_owned(), secret)),
        allowed_origins: settings.origins.clone(),
        allow_remote: settings.behind_tls_proxy,
        compat: Some(compat_options(settings, state)?),
        compat_rate: settings.compat_rate,
        ..HttpOptions::default()
    };
    options.allowed_hosts.extend(settings.hosts.iter().cloned());
    if let Some(most) = settings.max_body {
        options.max_body = most;
    }
    Ok(options)
}

/// The listeners, and what they are called.
async fn listen(settings: &ServeSettings) -> Result<(Vec<(TcpListener, Option<TlsConfig>)>, Vec<String>)> {
    let tls = settings.tls.as_ref().map(|(certificate, key)| TlsConfig {
        certificate: certificate.clone(),
        key: key.clone(),
    });
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for address in &settings.listen {
        let failed = |source| {
            Error::new(ErrorKind::HostIo, OPERATION, "the address cannot be listened on")
                .with_context("address", address)
                .with_hint("write it as HOST:PORT; another program may listen there")
                .with_source(source)
        };
        let listener = TcpListener::bind(address.as_str()).await.map_err(failed)?;
        addresses.push(format!("{scheme}://{}", listener.local_addr().map_err(failed)?));
        listeners.push((listener, tls.clone()));
    }
    Ok((listeners, addresses))
}

/// How to find the one that runs.
fn explain(error: Error) -> Error {
    if error.kind() == ErrorKind::Busy {
        return error
            .with_hint("`cofferdam health` shows the daemon that runs, `cofferdam serve --stop` ends it");
    }
    error
}

#[cfg(test)]
mod tests {
    use http_api::TokenScope;
    use session_core::policy::mounts::HostPaths;

    use super::*;

    #[test]
    fn files_of_the_host_are_for_its_user_and_for_administrators() {
        let options = McpOptions::new(HostPaths::default());
        let has = |caller: &Caller| for_caller(&options, caller).host.is_some();
        assert!(has(&Caller::local()));
        for (scope, wanted) in [
            (TokenScope::Read, false),
            (TokenScope::Use, false),
            (TokenScope::Admin, true),
        ] {
            for all in [false, true] {
                assert_eq!(has(&Caller::with_token("t", scope, all)), wanted, "{scope:?}");
            }
        }
    }
}
