//! `mcp`: the MCP servers of this host, declared, looked at, approved, published and served.
//!
//! Declaring and approving are for people at this command line alone: a session that could declare a server would run
//! programs on the host. Most of it is files, so only what starts servers or asks about sessions opens anything.

mod add;
mod approve;
mod artifacts;
mod definition;
mod deploy;
mod describe;
mod doctor;
mod draft;
mod import;
mod list;
mod login;
mod profiles;
mod publish;
mod remove;
mod secrets;
mod serve;
mod status;
mod test;
mod trouble;
mod validate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcp_catalog::{Catalog, Declared, ServerDefinition};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;
use session_gateway::mcp::upstream::Connector;

use crate::args::mcp::{KeysCommand, McpCommand};
use crate::compose::{self, Opened};
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::settings::McpPlaces;

/// What commands about declarations rest on.
#[derive(Debug)]
pub struct McpContext<'a> {
    places: &'a McpPlaces,
    catalog: Arc<Catalog>,
    current_dir: &'a Path,
    browser: Option<&'a PathBuf>,
}

impl<'a> McpContext<'a> {
    /// Reads nothing yet. `browser` is the program that opens addresses, if there is one.
    pub fn new(places: &'a McpPlaces, current_dir: &'a Path, browser: Option<&'a PathBuf>) -> Self {
        Self {
            places,
            catalog: places.catalog(),
            current_dir,
            browser,
        }
    }
}

impl McpContext<'_> {
    /// For logins, which need no gateway.
    fn connector(&self) -> Connector {
        Connector::new(Arc::new(compose::mcp_config(self.places)), Arc::default())
    }

    /// Where a server's standard error is kept.
    fn log(&self, server: &ServerName) -> PathBuf {
        self.places.telemetry.join(format!("{server}.log"))
    }
}

pub(super) use self::doctor::doctor;

/// Whether a command starts servers in this process, or asks about sessions. Everything else rests on files alone.
pub fn needs_sessions(command: &McpCommand) -> bool {
    matches!(
        command,
        McpCommand::Test(_) | McpCommand::Status(_) | McpCommand::Serve(_)
    )
}

/// Runs a command of `mcp` that needs what [`needs_sessions`] says.
///
/// # Errors
/// Those of the catalog, of servers, and of the lifecycle API; `NotFound` for a server that is not declared.
pub async fn mcp_with_sessions(
    command: &McpCommand,
    context: &McpContext<'_>,
    opened: &Opened,
    console: &mut Console,
) -> Result<ExitStatus> {
    let servers = || {
        opened.servers.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "start MCP servers",
                "this process has none",
            )
        })
    };
    match command {
        McpCommand::Test(args) => test::test(args, context, servers()?, console).await,
        McpCommand::Serve(args) => Box::pin(serve::serve(args, context, servers()?, console)).await,
        McpCommand::Status(args) => status::status(args, opened.api.as_ref(), console).await,
        _ => mcp(command, context, console).await,
    }
}

/// Runs a command of `mcp` that rests on files alone.
///
/// # Errors
/// Those of the catalog; `NotFound` for a server that is not declared.
pub async fn mcp(
    command: &McpCommand,
    context: &McpContext<'_>,
    console: &mut Console,
) -> Result<ExitStatus> {
    match command {
        McpCommand::Add(args) => add::add(args, context, console).await,
        McpCommand::Remove(args) => remove::remove(args, context, console),
        McpCommand::List => list::list(context, console),
        McpCommand::Describe(args) => describe::describe(args, context, console),
        McpCommand::Validate(args) => validate::validate(args, context, console).await,
        McpCommand::Approve(args) => approve::approve(args, context, console).await,
        McpCommand::Revoke(args) => approve::revoke(&args.name, context, console),
        McpCommand::Import(args) => import::import(args, context, console).await,
        McpCommand::Profiles(args) => profiles::profiles(args, context, console),
        McpCommand::Draft(command) => draft::draft(command, context, console),
        McpCommand::Publish(args) => publish::publish(args, context, console),
        McpCommand::Diff(args) => publish::diff(args, context, console),
        McpCommand::Verify(args) => artifacts::verify(args, context, console),
        McpCommand::Deploy(args) => deploy::deploy(args, context, console),
        McpCommand::Clients => publish::clients(context, console),
        McpCommand::Keys(KeysCommand::Init(args)) => publish::init_keys(args, context, console),
        McpCommand::Login(args) => login::login(args, context, console).await,
        McpCommand::Logout(args) => login::logout(args, context, console).await,
        // These need more than files, see above.
        McpCommand::Test(_) | McpCommand::Status(_) | McpCommand::Serve(_) => Ok(ExitStatus::SUCCESS),
    }
}

/// The declaration of a server.
fn declared_server<'a>(declared: &'a Declared, name: &ServerName) -> Result<&'a ServerDefinition> {
    declared.servers.get(name).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "find the MCP server",
            "no server of this name is declared",
        )
        .with_context("server", name)
        .with_hint("`cofferdam mcp list` shows those that are, `cofferdam mcp add` declares one")
    })
}
