//! The daemon is killed in the middle of a prompt, and the prompt comes to its end all the same.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;
use session_core::api::SessionApi;
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::PromptRequest;
use session_core::turn::{TurnOutcome, TurnStatus};
use testkit::model::{ModelServer, Script};
use xtask::error::{Context, Error, Result};
use xtask::reporter::{Reporter, seconds};

use super::claims::Claims;
use crate::daemon::Daemon;

/// What the agent does while nobody watches it. Longer than a daemon takes to come back.
const COMMAND: &str = "sleep 4; python3 -m unittest 2>&1";
const PROMPT: &str =
    "Run exactly `sleep 4; python3 -m unittest 2>&1` and tell me in one sentence what it says.";
const PATIENCE: Duration = Duration::from_secs(120);

/// Kills the daemon while the agent works, starts another one by the next command, and follows the turn to its end.
pub(super) async fn check(
    daemon: &Daemon,
    session: &SessionId,
    model: Option<&ModelServer>,
    reporter: &Reporter,
    claims: &mut Claims<'_>,
) -> Result<()> {
    if let Some(model) = model {
        let input = json!({ "command": COMMAND, "description": "Run the tests" });
        model.set_script(Script::new().tool("Bash", input).say("The tests pass."));
    }
    let request = PromptRequest {
        prompt: PROMPT.to_owned(),
        ..PromptRequest::default()
    };
    let turn = daemon.sessions().prompt(session, request).await;
    let turn = turn.context(|| "cannot prompt the agent".to_owned())?;
    let first = turn.first_event.saturating_sub(1);
    let seen = follow(daemon, session, first, is_tool_call).await?.after;
    let killed = daemon.process().await?;
    daemon.kill().await?;
    let dead = Instant::now();
    reporter.notice("  kill -9, while the agent runs a command");
    daemon.run(["ls"]).await?;
    let process = daemon.process().await?;
    claims.check(
        "the next command starts another daemon",
        process != killed,
        &format!("process {process}, {} after the kill", seconds(dead.elapsed())),
    );
    // From the last event that was seen: none is missed, none comes twice.
    let rest = follow(daemon, session, seen, is_end).await?;
    let outcome = rest
        .outcome
        .ok_or_else(|| Error::new("a turn ends with its outcome"))?;
    claims.check(
        "the prompt comes to its end",
        outcome.status == TurnStatus::Succeeded,
        &outcome.text,
    );
    claims.check("no event is lost or told twice", rest.gapless, "");
    Ok(())
}

/// What was seen of the events.
struct Seen {
    after: u64,
    gapless: bool,
    outcome: Option<TurnOutcome>,
}

fn is_tool_call(event: &EventKind) -> bool {
    matches!(event, EventKind::ToolCall { .. })
}

fn is_end(event: &EventKind) -> bool {
    matches!(event, EventKind::TurnFinished { .. })
}

/// Reads events after a number, up to the first that is looked for.
async fn follow(
    daemon: &Daemon,
    session: &SessionId,
    after: u64,
    wanted: impl Fn(&EventKind) -> bool,
) -> Result<Seen> {
    let doing = || "cannot follow the session".to_owned();
    let mut events = daemon.sessions().events(session, after).await.context(doing)?;
    let mut seen = Seen {
        after,
        gapless: true,
        outcome: None,
    };
    loop {
        let next = tokio::time::timeout(PATIENCE, events.next()).await;
        let next = next.context(|| format!("nothing happened for {} s", PATIENCE.as_secs()))?;
        let event = next.ok_or_else(|| Error::new("the events ended before the turn did"))?;
        let event = event.context(doing)?;
        seen.gapless &= event.seq == seen.after + 1;
        seen.after = event.seq;
        let found = wanted(&event.kind);
        if let EventKind::TurnFinished { outcome } = event.kind {
            seen.outcome = Some(outcome);
            return Ok(seen);
        }
        if found {
            return Ok(seen);
        }
    }
}
