//! Those who follow a session over HTTP: how soon they hear of what its agent does, and what many of them cost.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use session_core::api::{SessionApi, SessionApiExt as _};
use session_core::event::{Event, EventKind};
use session_core::id::SessionId;
use session_core::session::PromptRequest;
use tokio::task::JoinSet;
use xtask::error::{Context, Error, Result};

use super::super::Lab;
use super::super::cases::Figures;
use super::super::stats::Series;
use super::Served;

const SUBSCRIBERS: usize = 200;
const PROMPTS: u32 = 60;
/// How long the agent works while its subscribers are paid for, a prompt each second.
const SECONDS: u32 = 20;
/// The unit of times in `/proc`, on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// From when the manager has an event of the agent to when a subscriber has it: on the same clock, that of this machine.
pub(in super::super) async fn event(lab: &mut Lab) -> Result<Figures> {
    let served = Served::start(lab).await?;
    let measured = follow(&served, lab.rounds(PROMPTS)).await;
    served.stop().await?;
    measured
}

async fn follow(served: &Served, prompts: usize) -> Result<Figures> {
    let doing = || "cannot follow a session".to_owned();
    let session = served.sessions(1).await?[0];
    // The first one starts the agent.
    prompt(served, &session).await?;
    let api = served.daemon.sessions();
    let last = api.session(&session).await.context(doing)?.last_event;
    let mut events = api.events(&session, last).await.context(doing)?;
    let mut times = Series::default();
    for _ in 0..prompts {
        let (asked, heard) = tokio::join!(prompt(served, &session), heard(&mut events));
        asked?;
        times.extend(heard?);
    }
    Ok(Figures::Alone(times))
}

/// How late each event of the agent's was, to the end of a turn.
async fn heard(
    events: &mut (impl futures::Stream<Item = session_core::error::Result<Event>> + Unpin),
) -> Result<Vec<Duration>> {
    let mut late = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.context(|| "the events broke off".to_owned())?;
        let now = jiff::Timestamp::now();
        if is_of_agent(&event.kind) {
            late.push(now.duration_since(event.at).try_into().unwrap_or_default());
        }
        if matches!(event.kind, EventKind::TurnFinished { .. }) {
            return Ok(late);
        }
    }
    Err(Error::new("the events ended before the turn did"))
}

fn is_of_agent(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::AgentReady { .. } | EventKind::AgentText { .. } | EventKind::TurnFinished { .. }
    )
}

/// What the daemon works for subscribers, in parts of a core: with them, less without them.
pub(in super::super) async fn subscribers(lab: &mut Lab) -> Result<Figures> {
    let served = Served::start(lab).await?;
    let measured = share(&served, lab.rounds(SECONDS)).await;
    served.stop().await?;
    measured
}

async fn share(served: &Served, seconds: usize) -> Result<Figures> {
    let session = served.sessions(1).await?[0];
    prompt(served, &session).await?;
    let alone = work(served, &session, seconds).await?;
    let mut following = JoinSet::new();
    for _ in 0..SUBSCRIBERS {
        let events = served.daemon.sessions().events(&session, 0).await;
        let mut events = events.context(|| "cannot subscribe".to_owned())?;
        following.spawn(async move { while let Some(Ok(_)) = events.next().await {} });
    }
    let together = work(served, &session, seconds).await?;
    if let Some(ended) = following.try_join_next() {
        return Err(Error::new(format!("a subscriber was lost: {ended:?}")));
    }
    following.shutdown().await;
    Ok(Figures::Share((together - alone).max(0.0)))
}

/// The part of a core that the daemon needs while its agent works.
async fn work(served: &Served, session: &SessionId, seconds: usize) -> Result<f64> {
    let process = served.daemon.process().await?;
    // What was stored is heard first.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (started, before) = (Instant::now(), processor_time(process)?);
    for _ in 0..seconds {
        let next = tokio::time::Instant::now() + Duration::from_secs(1);
        prompt(served, session).await?;
        tokio::time::sleep_until(next).await;
    }
    Ok((processor_time(process)? - before) / started.elapsed().as_secs_f64())
}

async fn prompt(served: &Served, session: &SessionId) -> Result<()> {
    let request = PromptRequest {
        prompt: "Say that it is done.".to_owned(),
        ..PromptRequest::default()
    };
    let outcome = served.daemon.sessions().prompt_and_wait(session, request).await;
    let outcome = outcome.context(|| "cannot prompt the agent".to_owned())?;
    match outcome.failure {
        None => Ok(()),
        Some(failure) => Err(Error::new("a turn failed").output(failure.error.message)),
    }
}

/// How long a process has been at work, in seconds.
fn processor_time(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).context(|| format!("cannot read {path}"))?;
    ticks(&text)
        .map(|ticks| ticks / TICKS_PER_SECOND)
        .ok_or_else(|| Error::new(format!("{path} does not say how long it worked")))
}

/// In user mode and in the kernel, which stand behind the name in brackets.
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_at_work_is_read_past_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!(ticks("7 (a) S 1"), None);
    }
}
