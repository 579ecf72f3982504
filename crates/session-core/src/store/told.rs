//! Which events the audit log tells of by itself: what becomes of sessions although nobody asks for it at that moment, and
//! what happens at their doors. What a caller asks for is written with the caller's name, by [`crate::audit::Audited`].

use serde::Serialize;

use crate::audit::{AuditDecision, AuditEntry};
use crate::event::EventKind;
use crate::id::SessionId;
use crate::state::SessionState;

/// What a session does by itself.
const SESSION: &str = "session";
/// What is done to a session by our own processes.
const OURS: &str = "cofferdam";

/// The line of an event, if it has one.
pub(super) fn of_event(session: &SessionId, event: &EventKind) -> Option<AuditEntry> {
    use AuditDecision::{Done, Failed, Refused};
    let line = |actor: &str, action: &str, decision, rule, detail| AuditEntry {
        actor: actor.to_owned(),
        action: action.to_owned(),
        session: Some(*session),
        decision,
        rule,
        detail,
    };
    let to = |host, port| Some(format!("{host}:{port}"));
    Some(match event {
        EventKind::EgressAllowed { host, port, rule } => {
            line(SESSION, "connect_host", Done, Some(rule.clone()), to(host, port))
        }
        EventKind::EgressDenied { host, port, reason } => {
            line(SESSION, "connect_host", Refused, code(reason), to(host, port))
        }
        EventKind::BudgetSpent { limit, today } => {
            let whose = if *today { "of the day" } else { "of the session" };
            line(SESSION, "use_model", Refused, code(limit), Some(whose.to_owned()))
        }
        EventKind::Expired { cause } => line(OURS, "expire_session", Done, code(cause), None),
        EventKind::Recovered { cause, .. } => line(OURS, "recover_session", Done, code(cause), None),
        EventKind::StateChanged { to } => match to {
            SessionState::Interrupted { cause } => line(OURS, "lose_session", Failed, code(cause), None),
            SessionState::Failed { cause } => line(OURS, "make_session", Failed, None, Some(cause.clone())),
            SessionState::Destroyed => line(OURS, "remove_session", Done, None, None),
            _ => return None,
        },
        _ => return None,
    })
}

/// A plain word of a type, as it is serialised.
fn code(word: &impl Serialize) -> Option<String> {
    match serde_json::to_value(word) {
        Ok(serde_json::Value::String(code)) => Some(code),
        _ => None,
    }
}
