//! What a session may reach and use, from arguments that `create_session` and `spawn_claude_container` share.

use session_core::budget::Budget;
use session_core::egress::AllowEntry;
use session_core::error::Error;
use session_core::runtime::NetworkMode;

use super::Network;
use crate::args::{Count, Minutes, Usd};
use crate::failure::Failure;
use crate::text::one_line;

/// What was asked for.
#[derive(Debug)]
pub(in crate::tools) struct Reach<'a> {
    pub(in crate::tools) network: Option<Network>,
    pub(in crate::tools) allow: &'a [String],
}

impl Reach<'_> {
    /// The network, and the hosts that a session without one may reach. Hosts alone are enough to ask for them.
    pub(in crate::tools) fn read(&self) -> Result<(NetworkMode, Vec<AllowEntry>), Failure> {
        let entries: Result<Vec<_>, _> = self.allow.iter().enumerate().map(entry).collect();
        let entries = entries?;
        match self.network {
            Some(Network::Open) if !entries.is_empty() => Err(Failure::invalid(
                "network: \"open\" and allow contradict each other: an open session reaches everything",
                "leave network out: allow alone is enough",
            )),
            Some(Network::Open) => Ok((NetworkMode::Open, entries)),
            Some(Network::Allow) if entries.is_empty() => Err(Failure::invalid(
                "network: \"allow\" needs at least one host",
                "name what the session may reach, for example allow: [\"npm\", \"docs.example.com\"]",
            )),
            None | Some(Network::Sealed | Network::Allow) => Ok((NetworkMode::Sealed, entries)),
        }
    }
}

fn entry((index, text): (usize, &String)) -> Result<AllowEntry, Failure> {
    text.trim().parse().map_err(|error: Error| {
        let report = error.report();
        Failure::invalid(
            one_line(&format!("allow[{index}]: {}", report.message), 240),
            report.hint.unwrap_or_default(),
        )
    })
}

/// Limits as they were asked for.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::tools) struct Limits {
    pub(in crate::tools) usd: Option<Usd>,
    pub(in crate::tools) tokens: Option<Count>,
    pub(in crate::tools) requests: Option<Count>,
    pub(in crate::tools) minutes: Option<Minutes>,
}

impl Limits {
    /// The budget.
    pub(in crate::tools) fn budget(self) -> Result<Budget, Failure> {
        Ok(Budget {
            cost_microusd: self.usd.map(|Usd(micros)| micros),
            tokens: some("budgetTokens", self.tokens)?,
            requests: some("budgetRequests", self.requests)?,
            model_ms: self.minutes.map(|Minutes(millis)| millis),
        })
    }
}

/// A budget of nothing would be spent before the first request.
fn some(name: &str, limit: Option<Count>) -> Result<Option<u64>, Failure> {
    match limit {
        Some(Count(0)) => Err(Failure::invalid(
            format!("{name}: a budget of nothing lets nothing be done"),
            "leave it out for no limit",
        )),
        limit => Ok(limit.map(|Count(limit)| limit)),
    }
}
