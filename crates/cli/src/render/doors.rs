//! What happens at a session's doors and what its agent waits for, in words for people.

use std::time::Duration;

use session_core::activity::{Activity, StallAction, StallCause};
use session_core::budget::BudgetLimit;
use session_core::egress::{AllowEntry, DenialReason, HostRule};
use session_core::event::{Event, EventKind};
use session_core::gateway::ModelFailure;
use session_core::id::SessionId;

use super::{duration, servers};
use crate::printer::Paint;
use crate::sanitize;

/// The longest name of the session's choice, in characters.
const WIDTH: usize = 160;
/// How many hosts are named before the rest is counted.
const NAMED: usize = 3;

/// The line of an event at the doors; `None` for every other one, and without `verbose` for what went as it should.
pub(super) fn door(event: &Event, paint: Paint, verbose: bool) -> Option<String> {
    Some(match &event.kind {
        EventKind::EgressAllowed { host, port, rule } => {
            let by = format!("reached: {}:{port} ({})", name(host), name(rule));
            return verbose.then(|| paint.dim(format_args!("→ {by}")));
        }
        EventKind::EgressDenied { host, port, reason } => {
            let line = denial(host, *port, *reason, &event.session);
            paint.yellow(format_args!("✗ {line}"))
        }
        EventKind::EgressDecided { rule, allow, for_all } => {
            let what = if *allow { "allowed" } else { "refused" };
            let whom = if *for_all {
                "for every session"
            } else {
                "for this session"
            };
            paint.cyan(format_args!("· {what}: {rule} {whom}"))
        }
        EventKind::BudgetSpent { limit, today } => {
            let whose = if *today { "of today" } else { "of the session" };
            let limit = budget_limit(*limit);
            paint.red(format_args!("! the budget {whose} is spent: no more {limit}"))
        }
        EventKind::ModelFailing { failure } => {
            paint.yellow(format_args!("! the model's provider {}", model_failure(*failure)))
        }
        EventKind::ProviderChanged { to } => {
            paint.yellow(format_args!("! requests to the model go to {} now", name(to)))
        }
        EventKind::McpServer { status } => return servers::event(status, paint, verbose),
        EventKind::PermissionAsked { tool, .. } => {
            paint.yellow(format_args!("? it asks whether it may use {}", name(tool)))
        }
        EventKind::AgentStalled {
            cause,
            for_ms,
            action,
        } => paint.yellow(format_args!(
            "! nothing moves for {}: {} [{}]; {}",
            millis(*for_ms),
            stall(*cause),
            cause.as_str(),
            stall_action(*action)
        )),
        EventKind::AgentRecovered { cause, for_ms } => paint.dim(format_args!(
            "· it goes on after {} ({})",
            millis(*for_ms),
            cause.as_str()
        )),
        _ => return None,
    })
}

/// A denial, and the command that allows what was denied, when a person can. What is no plain name is in no command: it
/// is the session's choice, and a shell would obey it.
fn denial(host: &str, port: u16, reason: DenialReason, session: &SessionId) -> String {
    let told = format!("denied: {}:{port} ({})", name(host), denial_reason(reason));
    match HostRule::exact(host, port) {
        Ok(rule) if reason == DenialReason::NotAllowed => {
            format!("{told}: cofferdam egress approve {session} {rule}")
        }
        _ => told,
    }
}

/// The reason as it stands in JSON.
pub fn denial_reason(reason: DenialReason) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{reason:?}"),
    }
}

/// What the agent is doing.
pub fn activity(activity: &Activity) -> String {
    match activity {
        Activity::Idle => "idle".to_owned(),
        Activity::Starting => "starts".to_owned(),
        Activity::WaitingForModel { silent_ms } => format!("waits for the model, {}", millis(*silent_ms)),
        Activity::ModelQueued { for_ms } => {
            format!("waits for its place at the model, {}", millis(*for_ms))
        }
        Activity::ToolRunning { tool, for_ms } => format!("runs {}, {}", name(tool), millis(*for_ms)),
        Activity::WaitingForPermission { tool, for_ms } => {
            format!("waits for permission to use {}, {}", name(tool), millis(*for_ms))
        }
        Activity::Working { quiet_ms } => format!("works, silent for {}", millis(*quiet_ms)),
        _ => "at something that this version does not know".to_owned(),
    }
}

/// On what a turn hangs.
pub fn stall(cause: StallCause) -> &'static str {
    match cause {
        StallCause::ModelUnreachable => "the model cannot be reached",
        StallCause::ModelOverloaded => "the model has too much to do",
        StallCause::AgentSilent => "the agent says nothing",
        StallCause::WaitingForPermission => "the agent waits for a permission that nobody gives",
        StallCause::ToolRunning => "a tool does not end",
        _ => "of a cause that this version does not know",
    }
}

fn stall_action(action: StallAction) -> &'static str {
    match action {
        StallAction::Tell => "nothing is done about it yet",
        StallAction::Interrupt => "the turn is interrupted",
        StallAction::Restart => "the agent is restarted with its conversation",
    }
}

fn budget_limit(limit: BudgetLimit) -> &'static str {
    match limit {
        BudgetLimit::Cost => "money",
        BudgetLimit::Tokens => "tokens",
        BudgetLimit::Requests => "requests",
        BudgetLimit::Minutes => "minutes",
    }
}

fn model_failure(failure: ModelFailure) -> &'static str {
    match failure {
        ModelFailure::Unreachable => "cannot be reached",
        ModelFailure::Overloaded => "has too much to do",
        ModelFailure::Unauthorized => "refuses the credential",
        ModelFailure::Silent => "does not answer in time",
        ModelFailure::Failing => "answers with errors",
        _ => "fails",
    }
}

/// The hosts of a session in a few words: `npm, docs.example.com and 2 more`.
pub fn allowed(entries: &[AllowEntry]) -> String {
    let named: Vec<String> = entries.iter().take(NAMED).map(ToString::to_string).collect();
    let named = named.join(", ");
    match entries.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A text of the session's choice.
fn name(text: &str) -> String {
    sanitize::shorten(&sanitize::one_line(text), WIDTH).into_owned()
}

fn millis(millis: u64) -> String {
    duration(Duration::from_millis(millis))
}
