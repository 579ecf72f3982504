//! How a turn ended, in one line, and why it failed.

use std::time::Duration;

use session_core::turn::{TurnOutcome, TurnStatus};

use super::{count, duration, thousands};
use crate::printer::Paint;
use crate::sanitize;

/// The outcome's line, and after a failure its cause and what to do.
pub fn outcome(outcome: &TurnOutcome, paint: Paint) -> String {
    let took = duration(Duration::from_millis(outcome.duration_ms));
    let head = match outcome.status {
        TurnStatus::Succeeded => paint.green(format_args!("✓ done in {took}")),
        TurnStatus::Interrupted => paint.yellow(format_args!("■ interrupted after {took}")),
        TurnStatus::Failed => paint.red(format_args!("✗ failed after {took}")),
        TurnStatus::Queued | TurnStatus::Running => format!("… still running after {took}"),
    };
    let mut text = head + &paint.dim(account(outcome));
    if !outcome.permission_denials.is_empty() {
        let denied = outcome.permission_denials.join(", ");
        text += &format!("\n{} {}", paint.yellow("denied:"), sanitize::one_line(&denied));
    }
    if let Some(failure) = &outcome.failure {
        let code = paint.dim(format_args!("[{}]", cause(failure.cause)));
        text += &format!(
            "\n{} {} {code}",
            paint.red("cause:"),
            sanitize::one_line(&failure.error.message)
        );
        if let Some(hint) = &failure.error.hint {
            text += &format!("\n{} {}", paint.cyan("hint:"), sanitize::one_line(hint));
        }
    }
    text
}

fn account(outcome: &TurnOutcome) -> String {
    let usage = outcome.usage;
    let input = usage
        .input
        .saturating_add(usage.cache_read)
        .saturating_add(usage.cache_creation);
    let mut text = format!(
        " · {} · {} in / {} out tokens",
        count(outcome.model_calls, "model call"),
        thousands(input),
        thousands(usage.output)
    );
    if let Some(cost) = outcome.cost_usd {
        text += &format!(" · ${cost:.4}");
    }
    text
}

/// The cause's name as it stands in JSON.
fn cause(cause: session_core::turn::TurnFailureCause) -> String {
    match serde_json::to_value(cause) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{cause:?}"),
    }
}
