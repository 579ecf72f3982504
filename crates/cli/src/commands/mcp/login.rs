//! `mcp login` and `mcp logout`: a person logs in at a server, in a browser of this machine.

use std::process::Stdio;

use serde::Serialize;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::{McpContext, declared_server, trouble};
use crate::args::mcp::{LoginArgs, NameArgs};
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::sanitize;

/// Where to log in, as a JSON line.
#[derive(Debug, Serialize)]
struct Asked<'a> {
    event: &'static str,
    server: &'a ServerName,
    url: &'a str,
}

/// What came of it, as a JSON line.
#[derive(Debug, Serialize)]
struct Done<'a> {
    event: &'static str,
    server: &'a ServerName,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<jiff::Timestamp>,
    renewable: bool,
}

/// Says where to log in, and waits until somebody did.
pub(super) async fn login(
    args: &LoginArgs,
    context: &McpContext<'_>,
    console: &Console,
) -> Result<ExitStatus> {
    let declared = context.catalog.declared()?;
    let definition = declared_server(&declared, &args.name)?;
    let printer = &console.printer;
    let browser = context
        .browser
        .filter(|_| !args.no_browser && printer.can_ask())
        .cloned();
    let server = &args.name;
    let logged_in = context
        .connector()
        .login(server, definition, |url| {
            ask(server, url, printer);
            if let Some(browser) = browser {
                open(&browser, url);
            }
        })
        .await
        .map_err(|failure| trouble::error("log in at the MCP server", failure, context))?;
    if printer.json() {
        printer.object(&Done {
            event: "mcp_logged_in",
            server,
            scopes: logged_in.scopes,
            expires: logged_in.expires,
            renewable: logged_in.renewable,
        })?;
        return Ok(ExitStatus::SUCCESS);
    }
    let lasts = match (logged_in.expires, logged_in.renewable) {
        (_, true) => "it is renewed by itself".to_owned(),
        (Some(expires), false) => format!("it expires at {expires}"),
        (None, false) => "it does not expire".to_owned(),
    };
    printer.note(format_args!("logged in at {server}; {lasts}"));
    Ok(ExitStatus::SUCCESS)
}

/// Forgets a login.
pub(super) async fn logout(
    args: &NameArgs,
    context: &McpContext<'_>,
    console: &Console,
) -> Result<ExitStatus> {
    let forgotten = context
        .connector()
        .logout(&args.name)
        .await
        .map_err(|failure| trouble::error("log out", failure, context))?;
    let name = &args.name;
    console.printer.note(if forgotten {
        format!("the login at {name} is forgotten on this host; end it at the server as well")
    } else {
        format!("there was no login at {name}")
    });
    Ok(ExitStatus::SUCCESS)
}

fn ask(server: &ServerName, url: &str, printer: &Printer) {
    printer.note(format_args!("log in at {server} here:"));
    let told = if printer.json() {
        printer.object(&Asked {
            event: "mcp_login",
            server,
            url,
        })
    } else {
        printer.line(sanitize::one_line(url))
    };
    if told.is_ok() {
        printer.note("waiting; Ctrl-C gives up");
    }
}

/// What cannot be opened was printed.
fn open(browser: &std::path::Path, url: &str) {
    // An authorization server says what is opened: nothing but the web.
    if !(url.starts_with("https://") || url.starts_with("http://")) {
        return;
    }
    let opened = std::process::Command::new(browser)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = opened {
        tracing::debug!(%error, "no browser could be opened");
    }
}
