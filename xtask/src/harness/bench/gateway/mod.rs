//! What the MCP gateway costs. Calls are measured by `examples/mcp_bench` of `session-gateway`, which speaks the protocol with
//! the library that others use; what servers cost a session's start is measured here, with real sessions.

use std::time::{Duration, Instant};

use serde_json::Value;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::manager::SessionManager;
use session_core::mcp::McpSelection;
use session_core::session::{CreateSession, PromptRequest};
use session_core::turn::TurnStatus;
use session_gateway::egress::EgressConfig;
use xtask::error::{Context, Error, Result};
use xtask::process::Tool;
use xtask::workspace;

use super::cases::Figures;
use super::lifecycle::end_session;
use super::pairs::{Side, alternate};
use super::stats::Series;
use super::{Lab, scripted};
use crate::lab::{State, manager_behind};
use crate::servers;

/// The program, as a release build makes it.
const PROGRAM: &str = "release/examples/mcp_bench";
/// No measurement takes longer.
const LIMIT: Duration = Duration::from_secs(600);
/// Servers that a session is declared to have, and tools of each.
const SERVERS: usize = 13;
const TOOLS: usize = 5;

/// From a call to its result, one after the other.
pub(super) async fn call(lab: &mut Lab) -> Result<Figures> {
    let figures = measured("calls", lab.rounds(2000)).await?;
    Ok(Figures::Times {
        ours: series(&figures["ours"])?,
        baseline: series(&figures["baseline"])?,
    })
}

/// Many calls at once, from several clients.
pub(super) async fn rate(lab: &mut Lab) -> Result<Figures> {
    let figures = measured("rate", lab.rounds(20_000)).await?;
    Ok(Figures::Calls {
        count: number(&figures["count"])?,
        ours: series(&figures["ours"])?,
        baseline: series(&figures["baseline"])?,
    })
}

/// The tools of 50 servers, listed.
pub(super) async fn list(lab: &mut Lab) -> Result<Figures> {
    let figures = measured("list", lab.rounds(200)).await?;
    Ok(Figures::Alone(series(&figures["ours"])?))
}

/// A server killed again and again; the time is that of the next call.
pub(super) async fn kills(lab: &mut Lab) -> Result<Figures> {
    let figures = measured("kills", lab.rounds(1000)).await?;
    match number(&figures["left"])? {
        0 => Ok(Figures::Survived {
            count: number(&figures["killed"])?,
            ours: series(&figures["ours"])?,
        }),
        left => Err(Error::new(format!("{left} processes are left over"))),
    }
}

/// Runs the program in a thread that may wait.
async fn measured(what: &'static str, count: usize) -> Result<Value> {
    let run = move || {
        Tool::new(workspace::target().join(PROGRAM))
            .args([what, &count.to_string()])
            .limit(LIMIT)
            .output()
    };
    let ran = tokio::task::spawn_blocking(run).await;
    let said = ran.context(|| format!("the measurement `{what}` died"))??;
    serde_json::from_str(&said.stdout).context(|| format!("the measurement `{what}` says something else"))
}

fn series(times: &Value) -> Result<Series> {
    let odd = || Error::new("these are no times").output(times.to_string());
    let mut series = Series::default();
    for time in times.as_array().ok_or_else(odd)? {
        let time = time
            .as_f64()
            .and_then(|time| Duration::try_from_secs_f64(time).ok());
        series.push(time.ok_or_else(odd)?);
    }
    Ok(series)
}

fn number(value: &Value) -> Result<usize> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Error::new("this is no number").output(value.to_string()))
}

/// From the call that creates a session to its agent's first answer: with thirteen servers, and with none.
pub(super) async fn start(lab: &mut Lab) -> Result<Figures> {
    let state = State::new()?;
    let config = servers::declare(state.path(), &declarations(), &[])?;
    let provider = scripted(&lab.model.url());
    let manager = manager_behind(
        state.path(),
        &lab.host,
        &provider,
        EgressConfig::default(),
        config,
    )
    .await?;
    let with = |mcp| Start {
        manager: manager.clone(),
        mcp,
    };
    let (mut ours, mut baseline) = (
        with(McpSelection::default()),
        with(McpSelection {
            none: true,
            ..McpSelection::default()
        }),
    );
    let figures = alternate(lab.rounds(20), &mut ours, &mut baseline).await;
    manager.shutdown().await;
    figures
}

fn declarations() -> String {
    let program = workspace::target().join(PROGRAM);
    let names: Vec<String> = (0..SERVERS).map(|number| format!("server-{number}")).collect();
    let mut text = String::new();
    for name in &names {
        text.push_str(&format!(
            "[servers.{name}]\ncommand = {program:?}\nargs = [\"serve\", \"{TOOLS}\"]\n"
        ));
    }
    text.push_str(&format!("[profiles.default]\nservers = {names:?}\n"));
    text
}

struct Start {
    manager: SessionManager,
    mcp: McpSelection,
}

impl Side for Start {
    async fn once(&mut self) -> Result<Duration> {
        let request = CreateSession {
            mcp: self.mcp.clone(),
            ..CreateSession::default()
        };
        let prompt = PromptRequest {
            prompt: "Say that it is done.".to_owned(),
            ..PromptRequest::default()
        };
        let started = Instant::now();
        let created = self.manager.create(request).await;
        let session = created.context(|| "cannot create a session".to_owned())?.id;
        let outcome = self.manager.prompt_and_wait(&session, prompt).await;
        let taken = started.elapsed();
        end_session(&self.manager, &session).await?;
        let outcome = outcome.context(|| "cannot prompt the agent".to_owned())?;
        match outcome.status {
            TurnStatus::Succeeded => Ok(taken),
            _ => Err(Error::new("the turn failed").output(format!("{:?}", outcome.failure))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_read_or_refused() {
        let read = series(&json!([0.5, 0.25, 0.75])).expect("times");
        assert_eq!(read.median(), Duration::from_millis(500));
        for odd in [json!(null), json!([-1.0]), json!(["1"])] {
            assert!(series(&odd).is_err(), "{odd}");
        }
        assert!(number(&json!(-1)).is_err());
    }

    #[test]
    fn a_session_has_all_of_the_servers() {
        let text = declarations();
        assert_eq!(text.matches("[servers.").count(), SERVERS);
        assert!(text.contains("\"server-12\"]"), "{text}");
    }
}
