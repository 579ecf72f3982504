//! The course of one turn: what its events say about where it stands.
//!
//! Fed with the events of a turn, by the one who stores them or by one who reads them again later. Moments are
//! milliseconds on a line of the caller's; only their differences count.

use super::{OpenCall, Retrying, StallAction, StallCause, TurnFacts};
use crate::event::EventKind;

/// How many calls are remembered; more at once are not believed, and the oldest are forgotten.
const MAX_OPEN: usize = 256;

/// Where a turn stands, as its events tell.
#[derive(Debug, Clone, Default)]
pub struct Course {
    begun: bool,
    heard: u64,
    got_on: u64,
    calls: Vec<Call>,
    asked: Vec<Call>,
    retry: Option<Retry>,
    told: Option<Told>,
}

/// A tool's call, or a question about one.
#[derive(Debug, Clone)]
struct Call {
    id: String,
    tool: String,
    at: u64,
}

#[derive(Debug, Clone, Copy)]
struct Retry {
    fault: Option<StallCause>,
    since: u64,
    latest: u64,
    delay_ms: u64,
}

/// A stall that was told and has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its cause.
    pub cause: StallCause,
    /// What was done about it.
    pub action: StallAction,
    /// When it began.
    since: u64,
}

impl Course {
    /// A turn that was handed to the agent at this moment.
    pub fn begun_at(now: u64) -> Self {
        Self {
            heard: now,
            got_on: now,
            ..Self::default()
        }
    }

    /// The agent gave a sign of life, whatever it was.
    pub fn heard(&mut self, now: u64) {
        self.heard = self.heard.max(now);
    }

    /// An event of the turn.
    pub fn note(&mut self, now: u64, kind: &EventKind) {
        match kind {
            EventKind::TurnStarted => *self = Self::begun_at(now),
            EventKind::AgentReady { .. } | EventKind::AgentOther { .. } | EventKind::AgentStderr { .. } => {
                self.said(now);
            }
            EventKind::AgentText { .. } | EventKind::AgentThinking { .. } => self.goes_on(now),
            EventKind::ToolCall { id, tool, .. } => {
                self.goes_on(now);
                remember(&mut self.calls, id, tool, now);
            }
            EventKind::ToolResult { id, .. } => {
                self.goes_on(now);
                self.calls.retain(|call| call.id != *id);
                self.asked.retain(|call| call.id != *id);
            }
            EventKind::PermissionAsked { call, tool } => {
                self.goes_on(now);
                remember(&mut self.asked, call, tool, now);
            }
            EventKind::ModelRetry { delay_ms, reason, .. } => self.retries(now, *delay_ms, reason),
            EventKind::AgentOutputLost { .. } => {
                // Among it may have been the answers.
                self.goes_on(now);
                self.calls.clear();
                self.asked.clear();
            }
            EventKind::AgentStalled {
                cause,
                for_ms,
                action,
            } => {
                self.told = Some(Told {
                    cause: *cause,
                    action: *action,
                    since: now.saturating_sub(*for_ms),
                });
            }
            EventKind::AgentRecovered { .. } => self.told = None,
            _ => {}
        }
    }

    /// The stall that was told last and that did not end.
    pub fn told(&self) -> Option<Told> {
        self.told
    }

    /// What that amounts to now.
    pub fn facts(&self, now: u64) -> TurnFacts {
        let age = |at: u64| now.saturating_sub(at);
        let open = |calls: &[Call]| {
            calls.last().map(|call| OpenCall {
                tool: call.tool.clone(),
                for_ms: age(call.at),
            })
        };
        TurnFacts {
            begun: self.begun,
            quiet_ms: age(self.heard),
            stuck_ms: age(self.got_on),
            tool: open(&self.calls),
            permission: open(&self.asked),
            retry: self.retry.map(|retry| Retrying {
                fault: retry.fault,
                for_ms: age(retry.since),
                latest_ms: age(retry.latest),
                delay_ms: retry.delay_ms,
            }),
        }
    }

    fn said(&mut self, now: u64) {
        self.begun = true;
        self.heard(now);
    }

    fn goes_on(&mut self, now: u64) {
        self.said(now);
        self.got_on = self.got_on.max(now);
        self.retry = None;
    }

    fn retries(&mut self, now: u64, delay_ms: u64, reason: &str) {
        self.said(now);
        let fault = fault_in(reason);
        let since = match self.retry {
            Some(retry) if retry.fault == fault => retry.since,
            _ => now,
        };
        self.retry = Some(Retry {
            fault,
            since,
            latest: now,
            delay_ms,
        });
    }
}

impl Told {
    /// For how long the stall has lasted, in milliseconds.
    pub fn for_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.since)
    }
}

fn remember(calls: &mut Vec<Call>, id: &str, tool: &str, at: u64) {
    calls.retain(|call| call.id != id);
    if calls.len() == MAX_OPEN {
        calls.remove(0);
    }
    calls.push(Call {
        id: id.to_owned(),
        tool: tool.to_owned(),
        at,
    });
}

/// What is at fault by the words of [`EventKind::ModelRetry`]: they begin with the provider's status when it answered.
/// The gateway answers in its place when it cannot be reached (502) or does not answer in time (504).
fn fault_in(reason: &str) -> Option<StallCause> {
    let status = reason.split(' ').next().and_then(|word| word.parse::<u16>().ok());
    match status {
        None | Some(408 | 502 | 504) => Some(StallCause::ModelUnreachable),
        Some(429 | 503 | 529) => Some(StallCause::ModelOverloaded),
        Some(_) => None,
    }
}
