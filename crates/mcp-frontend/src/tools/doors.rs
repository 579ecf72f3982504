//! What a session may reach and use, and what its agent waits for, as results show it.

use schemars::JsonSchema;
use serde::Serialize;
use session_core::activity::Activity;
use session_core::budget::{Budget, Spending};
use session_core::egress::EgressRequest;

use crate::text::one_line;

/// How many hosts that were denied one result names.
const SHOWN: usize = 50;
/// The longest name of a session's choice, in characters.
const WIDTH: usize = 120;

/// How much of the model a session may use in its whole life.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BudgetView {
    /// Money in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    usd: Option<f64>,
    /// Tokens of all kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    /// Requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    /// Minutes with a request under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    minutes: Option<f64>,
}

impl BudgetView {
    /// `None` for a budget without limits.
    pub(crate) fn new(budget: &Budget) -> Option<Self> {
        (!budget.is_unlimited()).then(|| Self {
            usd: budget.cost_microusd.map(usd),
            tokens: budget.tokens,
            requests: budget.requests,
            minutes: budget.model_ms.map(minutes),
        })
    }
}

/// What a session used of the model in its whole life.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageView {
    /// Money in US dollars, by the price table.
    usd: f64,
    /// Tokens of all kinds.
    tokens: u64,
    /// Requests.
    requests: u64,
    /// Minutes with a request under way.
    minutes: f64,
}

impl UsageView {
    pub(crate) fn new(spent: &Spending) -> Self {
        Self {
            usd: usd(spent.cost_microusd),
            tokens: spent.tokens(),
            requests: spent.requests,
            minutes: minutes(spent.model_ms),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people and models; the accounts themselves are whole numbers"
)]
fn usd(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people and models; the accounts themselves are whole numbers"
)]
fn minutes(millis: u64) -> f64 {
    millis as f64 / 60_000.0
}

/// What the agent is doing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActivityView {
    /// idle, starting, working, waiting_for_model, model_queued (waits for its place at the model), tool_running or waiting_for_permission.
    kind: &'static str,
    /// The tool that runs or is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    /// For how long it has been so, in milliseconds; while it works: for how long it has said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
}

impl ActivityView {
    pub(crate) fn new(activity: &Activity) -> Self {
        let (kind, tool, for_ms) = match activity {
            Activity::Idle => ("idle", None, None),
            Activity::Starting => ("starting", None, None),
            Activity::WaitingForModel { silent_ms } => ("waiting_for_model", None, Some(*silent_ms)),
            Activity::ModelQueued { for_ms } => ("model_queued", None, Some(*for_ms)),
            Activity::ToolRunning { tool, for_ms } => ("tool_running", Some(tool), Some(*for_ms)),
            Activity::WaitingForPermission { tool, for_ms } => {
                ("waiting_for_permission", Some(tool), Some(*for_ms))
            }
            Activity::Working { quiet_ms } => ("working", None, Some(*quiet_ms)),
            _ => ("other", None, None),
        };
        Self {
            kind,
            tool: tool.map(|tool| one_line(tool, WIDTH)),
            for_ms,
        }
    }
}

/// Hosts that the session was denied and about which nobody has decided.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeniedView {
    /// The newest of them.
    hosts: Vec<DeniedHost>,
    /// How many there are.
    total: usize,
    /// What can be done about it.
    how_to_allow: String,
}

/// One of them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DeniedHost {
    /// The narrowest rule that would allow it.
    rule: String,
    /// How often it was denied.
    times: u64,
    /// When it was denied last, RFC 3339.
    last_at: String,
}

impl DeniedView {
    /// `None` when nothing was denied.
    pub(crate) fn new(requests: &[EgressRequest]) -> Option<Self> {
        let session = requests.first()?.session;
        let hosts = requests.iter().take(SHOWN).map(|request| DeniedHost {
            rule: one_line(&request.rule.to_string(), 300),
            times: request.times,
            last_at: request.last_at.to_string(),
        });
        Some(Self {
            hosts: hosts.collect(),
            total: requests.len(),
            how_to_allow: format!(
                "Only a person can allow them, on the host: cofferdam egress approve {session} RULE. No tool does it; ask \
                 the user. A new session can be given them with `allow`."
            ),
        })
    }
}
