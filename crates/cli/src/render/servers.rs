//! MCP servers for people: how they are, why, and what to do about it.

use std::time::Duration;

use session_core::mcp::{McpPlan, McpStatus, ServerState, ServerStatus};

use super::{Table, duration};
use crate::printer::Paint;
use crate::sanitize;

/// The longest reason, in characters.
const WIDTH: usize = 160;
/// How many tools are named before the rest is counted.
const NAMED: usize = 3;
/// The part of a content address that people compare.
const SHORT_ADDRESS: usize = 12;

/// How a server is, in a word or two.
pub fn server_state(state: ServerState) -> &'static str {
    match state {
        ServerState::Idle => "idle",
        ServerState::Starting => "starting",
        ServerState::Ready => "ready",
        ServerState::Failed => "failed",
        ServerState::GaveUp => "gave up",
        ServerState::NeedsLogin => "needs login",
        ServerState::Removed => "removed",
        _ => "unknown to this version",
    }
}

/// Why it is so and what to do: `connection refused; again in 2.0s`. Empty when all is well.
pub fn server_remarks(status: &ServerStatus) -> String {
    let name = &status.name;
    let mut remarks = Vec::new();
    if let Some(reason) = &status.reason {
        remarks.push(sanitize::shorten(&sanitize::one_line(reason), WIDTH).into_owned());
    }
    if let Some(wait) = status.retry_in_ms {
        remarks.push(format!("again in {}", duration(Duration::from_millis(wait))));
    }
    if status.state == ServerState::NeedsLogin {
        remarks.push(format!("cofferdam mcp login {name}"));
    }
    if !status.held.is_empty() {
        remarks.push(format!(
            "held: {}: cofferdam mcp approve {name}",
            tools(&status.held)
        ));
    }
    remarks.join("; ")
}

/// The line of an event; `None` for what is no news without `verbose`.
pub(super) fn event(status: &ServerStatus, paint: Paint, verbose: bool) -> Option<String> {
    let told = format!("MCP server {}: {}", status.name, server_state(status.state));
    let remarks = server_remarks(status);
    let line = if remarks.is_empty() {
        told
    } else {
        format!("{told}: {remarks}")
    };
    match status.state {
        ServerState::Failed | ServerState::GaveUp | ServerState::NeedsLogin | ServerState::Removed => {
            Some(paint.yellow(format_args!("! {line}")))
        }
        _ if !status.held.is_empty() => Some(paint.yellow(format_args!("! {line}"))),
        _ => verbose.then(|| paint.dim(format_args!("· {line}"))),
    }
}

/// A table of servers.
pub fn servers(status: &McpStatus) -> Table {
    let mut table = Table::new(&["SERVER", "STATE", "TOOLS", "REMARKS"]);
    for server in &status.servers {
        table.row(vec![
            server.name.to_string(),
            server_state(server.state).to_owned(),
            server
                .tools
                .map_or_else(|| "-".to_owned(), |tools| tools.to_string()),
            server_remarks(server),
        ]);
    }
    table
}

/// The facts that a session's MCP servers add to it.
pub(super) fn facts(plan: &McpPlan, status: Option<&McpStatus>) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let known = |name| {
        let status = status?;
        status.servers.iter().find(|server| server.name == name)
    };
    let of_operator = plan.servers.iter().map(|name| (name, ""));
    let own = plan.own.iter().map(|name| (name, " (its own)"));
    for (name, whose) in of_operator.chain(own) {
        let state = known(name.clone()).map_or_else(String::new, |status| {
            let remarks = server_remarks(status);
            let state = server_state(status.state);
            if remarks.is_empty() {
                format!(": {state}")
            } else {
                format!(": {state}: {remarks}")
            }
        });
        facts.push(("mcp", format!("{name}{whose}{state}")));
    }
    if !plan.tools.is_empty() {
        facts.push(("mcp tools", tools(&plan.tools)));
    }
    if plan.search {
        facts.push(("mcp search", "tools are found by searching".to_owned()));
    }
    if !plan.configuration.is_empty() {
        facts.push(("mcp config", configuration(plan, status)));
    }
    facts
}

fn configuration(plan: &McpPlan, status: Option<&McpStatus>) -> String {
    let mut text = sanitize::one_line(&plan.configuration).into_owned();
    if let Some(profile) = &plan.profile {
        text += &format!(", profile {profile}");
    }
    match &plan.artifact {
        Some(artifact) => text += &format!(", published as {}", short_address(artifact)),
        None => text += ", not published",
    }
    if status.is_some_and(|status| status.drifted) {
        text += "; the declarations have changed since";
    }
    text
}

/// The start of a content address, without the name of its algorithm.
pub fn short_address(address: &str) -> String {
    let digits = address.strip_prefix("sha256:").unwrap_or(address);
    sanitize::one_line(digits).chars().take(SHORT_ADDRESS).collect()
}

/// Names of tools, which are their server's choice: `read, write and 2 more`.
pub fn tools(names: &[String]) -> String {
    let named: Vec<String> = names
        .iter()
        .take(NAMED)
        .map(|name| sanitize::shorten(&sanitize::one_line(name), 60).into_owned())
        .collect();
    let named = named.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: ServerState) -> ServerStatus {
        ServerStatus {
            name: "git".parse().unwrap(),
            state,
            reason: None,
            failures: 0,
            retry_in_ms: None,
            held: Vec::new(),
            tools: Some(3),
        }
    }

    #[test]
    fn what_goes_well_is_no_news_and_what_does_not_says_what_to_do() {
        let paint = Paint::new(false);
        for quiet in [ServerState::Idle, ServerState::Starting, ServerState::Ready] {
            assert_eq!(event(&status(quiet), paint, false), None);
            assert!(event(&status(quiet), paint, true).is_some());
        }
        let mut failed = status(ServerState::Failed);
        failed.reason = Some("it said \u{1b}[2J".to_owned());
        failed.retry_in_ms = Some(2000);
        assert_eq!(
            event(&failed, paint, false).unwrap(),
            "! MCP server git: failed: it said \\u{1b}[2J; again in 2.0s"
        );
        let login = event(&status(ServerState::NeedsLogin), paint, false).unwrap();
        assert!(login.ends_with("cofferdam mcp login git"), "{login}");
        let mut held = status(ServerState::Ready);
        held.held = ["a", "b\u{202e}", "c", "d"].map(str::to_owned).to_vec();
        let line = event(&held, paint, false).unwrap();
        assert_eq!(
            line,
            "! MCP server git: ready: held: a, b\\u{202e}, c and 1 more: cofferdam mcp approve git"
        );
    }
}
