//! How much a session may use.

use serde::{Deserialize, Serialize};
use session_core::budget::Budget;
use session_core::lifetime::Lifetime;
use session_core::runtime::ResourceLimits;
use utoipa::ToSchema;

use crate::object::objects;
use crate::query::safe;

/// Limits of a session's container. What is left out has the value of the example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"memory_bytes": 4_294_967_296u64, "milli_cpus": 2000, "pids": 1024}))]
pub struct LimitsBody {
    /// Memory in bytes; swap is not added to it.
    #[serde(default = "default_memory", deserialize_with = "crate::object::whole")]
    #[schema(minimum = 33_554_432, maximum = 17_592_186_044_416u64)]
    pub memory_bytes: u64,
    /// CPU time per second of wall time, in thousandths of a core.
    #[serde(default = "default_cpus", deserialize_with = "crate::object::whole")]
    #[schema(minimum = 10, maximum = 1_024_000)]
    pub milli_cpus: u32,
    /// Processes and threads.
    #[serde(default = "default_pids", deserialize_with = "crate::object::whole")]
    #[schema(minimum = 16, maximum = 4_194_304)]
    pub pids: u32,
}

fn default_memory() -> u64 {
    ResourceLimits::default().memory_bytes
}

fn default_cpus() -> u32 {
    ResourceLimits::default().milli_cpus
}

fn default_pids() -> u32 {
    ResourceLimits::default().pids
}

impl From<LimitsBody> for ResourceLimits {
    fn from(body: LimitsBody) -> Self {
        Self {
            memory_bytes: body.memory_bytes,
            milli_cpus: body.milli_cpus,
            pids: body.pids,
        }
    }
}

impl From<ResourceLimits> for LimitsBody {
    fn from(limits: ResourceLimits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            milli_cpus: limits.milli_cpus,
            pids: limits.pids,
        }
    }
}

/// How much of the model a session may use in its whole life. What is left out is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"cost_microusd": 5_000_000}))]
pub struct BudgetBody {
    /// Money by the price table, in millionths of a US dollar.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991u64)]
    pub cost_microusd: Option<u64>,
    /// Tokens of all kinds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991u64)]
    pub tokens: Option<u64>,
    /// Requests to the model.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991u64)]
    pub requests: Option<u64>,
    /// For how long requests may be under way altogether, in milliseconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991u64)]
    pub model_ms: Option<u64>,
}

impl BudgetBody {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

impl From<BudgetBody> for Budget {
    fn from(body: BudgetBody) -> Self {
        Self {
            cost_microusd: body.cost_microusd,
            tokens: body.tokens,
            requests: body.requests,
            model_ms: body.model_ms,
        }
    }
}

impl From<Budget> for BudgetBody {
    fn from(budget: Budget) -> Self {
        Self {
            cost_microusd: budget.cost_microusd.map(safe),
            tokens: budget.tokens.map(safe),
            requests: budget.requests.map(safe),
            model_ms: budget.model_ms.map(safe),
        }
    }
}

/// When a session ends by itself; never when nothing is said. What it had of unsaved changes stays as its last checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"idle_ms": 1_800_000, "keep_on_failure": true}))]
pub struct LifetimeBody {
    /// It is destroyed when it had nothing to do for so many milliseconds. A session that works is never idle: a turn that
    /// waits or runs, a command, a terminal with somebody at it and a transfer of files are work.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 315_360_000_000u64)]
    pub idle_ms: Option<u64>,
    /// It is destroyed so many milliseconds after it was made, whatever it does.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 315_360_000_000u64)]
    pub max_ms: Option<u64>,
    /// It is destroyed when its lease was not renewed for so many milliseconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 315_360_000_000u64)]
    pub lease_ms: Option<u64>,
    /// It is not destroyed for idleness when its last turn failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_on_failure: bool,
}

impl LifetimeBody {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<LifetimeBody> for Lifetime {
    fn from(body: LifetimeBody) -> Self {
        Self {
            idle_ms: body.idle_ms,
            max_ms: body.max_ms,
            lease_ms: body.lease_ms,
            keep_on_failure: body.keep_on_failure,
        }
    }
}

impl From<Lifetime> for LifetimeBody {
    fn from(lifetime: Lifetime) -> Self {
        Self {
            idle_ms: lifetime.idle_ms.map(safe),
            max_ms: lifetime.max_ms.map(safe),
            lease_ms: lifetime.lease_ms.map(safe),
            keep_on_failure: lifetime.keep_on_failure,
        }
    }
}

objects!(LimitsBody, BudgetBody, LifetimeBody);
