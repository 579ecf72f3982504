//! Addresses, as a client writes them.

use session_core::audit::AuditQuery;
use session_core::id::{CheckpointId, CommandId, SessionId, TerminalId, TurnId};
use session_core::session::{EventQuery, SessionFilter};
use session_core::terminal::TerminalSize;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::query::{AuditLinesQuery, EventsQuery};

/// The server's description of itself.
pub const SERVER: &str = "/v1/server";
/// Stops the server.
pub const SERVER_STOP: &str = "/v1/server/stop";
/// Removes what no session wants.
pub const GARBAGE: &str = "/v1/server/gc";
/// Lines of the audit log.
pub const AUDIT: &str = "/v1/audit";
/// Whether the audit log is as it was written.
pub const AUDIT_VERIFY: &str = "/v1/audit/verify";
/// The description of the API.
pub const OPENAPI: &str = "/v1/openapi.json";
/// Whether the process is alive.
pub const HEALTH: &str = "/healthz";
/// Whether it can serve.
pub const READY: &str = "/readyz";
/// Its metrics.
pub const METRICS: &str = "/metrics";
/// All sessions.
pub const SESSIONS: &str = "/v1/sessions";
/// Hosts about which nobody has decided yet.
pub const EGRESS_REQUESTS: &str = "/v1/egress/requests";
/// What was decided about hosts.
pub const EGRESS_DECISIONS: &str = "/v1/egress/decisions";
/// What was used of the model.
pub const USAGE: &str = "/v1/usage";
/// MCP servers.
pub const MCP_SERVERS: &str = "/v1/mcp/servers";
/// All tokens.
pub const TOKENS: &str = "/v1/tokens";

/// The sessions that a filter names.
pub fn sessions(filter: &SessionFilter) -> String {
    let mut query = Serializer::new(String::new());
    if filter.all {
        query.append_pair("all", "true");
    }
    for (key, value) in &filter.labels {
        query.append_pair("label", &format!("{key}={value}"));
    }
    if let Some(owner) = &filter.owner {
        query.append_pair("owner", owner);
    }
    with_query(SESSIONS, &query.finish())
}

/// One session.
pub fn session(session: &SessionId) -> String {
    format!("{SESSIONS}/{session}")
}

/// One session, its container asked.
pub fn details(session: &SessionId) -> String {
    below(session, "details")
}

/// Freezes a session.
pub fn pause(session: &SessionId) -> String {
    below(session, "pause")
}

/// Lets it go on.
pub fn resume(session: &SessionId) -> String {
    below(session, "resume")
}

/// Renews a session's lease.
pub fn lease(session: &SessionId) -> String {
    below(session, "lease")
}

/// The checkpoints of a session.
pub fn checkpoints(session: &SessionId) -> String {
    below(session, "checkpoints")
}

/// The patch of a checkpoint.
pub fn checkpoint_patch(session: &SessionId, checkpoint: &CheckpointId) -> String {
    format!("{}/{checkpoint}/patch", checkpoints(session))
}

/// Brings a session's work back.
pub fn restore(session: &SessionId) -> String {
    below(session, "restore")
}

/// Interrupts all turns of a session.
pub fn interrupt(session: &SessionId) -> String {
    below(session, "interrupt")
}

/// The turns of a session.
pub fn turns(session: &SessionId) -> String {
    below(session, "turns")
}

/// One turn.
pub fn turn(session: &SessionId, turn: &TurnId) -> String {
    format!("{}/{turn}", turns(session))
}

/// Interrupts one turn.
pub fn interrupt_turn(session: &SessionId, turn: &TurnId) -> String {
    format!("{}/{turn}/interrupt", turns(session))
}

/// Stored events.
pub fn events(session: &SessionId, query: EventQuery) -> String {
    let EventsQuery { after, limit, tail } = query.into();
    format!(
        "{}?after={after}&limit={limit}&tail={tail}",
        below(session, "events")
    )
}

/// Events as they happen, after the number `after`.
pub fn event_stream(session: &SessionId, after: u64) -> String {
    format!("{}?after={after}", below(session, "events/stream"))
}

/// Commands.
pub fn commands(session: &SessionId) -> String {
    below(session, "commands")
}

/// The WebSocket of a new command.
pub fn command_stream(session: &SessionId) -> String {
    below(session, "commands/stream")
}

/// The WebSocket of a command that runs.
pub fn attach_command(session: &SessionId, command: &CommandId, offset: u64) -> String {
    format!("{}/{command}/stream?offset={offset}", commands(session))
}

/// The events of a command.
pub fn command_events(session: &SessionId, command: &CommandId, offset: u64) -> String {
    format!("{}/{command}/events?offset={offset}", commands(session))
}

/// Sends a command a signal.
pub fn signal(session: &SessionId, command: &CommandId) -> String {
    format!("{}/{command}/signal", commands(session))
}

/// Writes to a command's standard input.
pub fn stdin(session: &SessionId, command: &CommandId, eof: bool) -> String {
    format!("{}/{command}/stdin?eof={eof}", commands(session))
}

/// Files at a path inside a session.
pub fn files(session: &SessionId, path: &str) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("path", path);
    with_query(&below(session, "files"), &query.finish())
}

/// What changed in the workspace.
pub fn diff(session: &SessionId) -> String {
    below(session, "diff")
}

/// The terminals of a session.
pub fn terminals(session: &SessionId) -> String {
    below(session, "terminals")
}

/// One terminal.
pub fn terminal(session: &SessionId, terminal: &TerminalId) -> String {
    format!("{}/{terminal}", terminals(session))
}

/// The WebSocket of a viewer with a screen of `size`.
pub fn terminal_stream(session: &SessionId, terminal: &TerminalId, size: TerminalSize) -> String {
    let TerminalSize { rows, columns } = size;
    format!(
        "{}/{terminal}/stream?rows={rows}&columns={columns}",
        terminals(session)
    )
}

/// Lines of the audit log.
pub fn audit(query: AuditQuery) -> String {
    let AuditLinesQuery {
        after,
        limit,
        tail,
        session,
    } = query.into();
    let lines = format!("{AUDIT}?after={after}&limit={limit}&tail={tail}");
    match session {
        Some(session) => format!("{lines}&session={session}"),
        None => lines,
    }
}

/// One of the addresses that are about one session or about all.
pub fn of_session(path: &str, session: Option<&SessionId>) -> String {
    match session {
        Some(session) => format!("{path}?session={session}"),
        None => path.to_owned(),
    }
}

/// One token.
pub fn token(name: &str) -> String {
    // A space is `+` in a form and a plus sign in a path.
    let name: String = byte_serialize(name.as_bytes()).collect();
    format!("{TOKENS}/{}", name.replace('+', "%20"))
}

fn below(session: &SessionId, what: &str) -> String {
    format!("{SESSIONS}/{session}/{what}")
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_in_an_address_is_escaped() {
        let id: SessionId = "7d9f0a4e-6a0f-4c7e-9d53-1f2a3b4c5d6e".parse().unwrap();
        assert_eq!(
            files(&id, "/a b&c=d?ä"),
            format!("/v1/sessions/{id}/files?path=%2Fa+b%26c%3Dd%3F%C3%A4")
        );
        let filter = SessionFilter {
            all: true,
            labels: [("team".to_owned(), "a=b&c".to_owned())].into(),
            owner: Some("me & you".to_owned()),
        };
        assert_eq!(
            sessions(&filter),
            "/v1/sessions?all=true&label=team%3Da%3Db%26c&owner=me+%26+you"
        );
        assert_eq!(sessions(&SessionFilter::default()), SESSIONS);
        assert_eq!(token("a/b c+d"), "/v1/tokens/a%2Fb%20c%2Bd");
    }
}
