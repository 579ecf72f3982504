//! What sessions use of their model, and how much they may.
//!
//! Amounts are whole numbers: money in millionths of a US dollar, time in milliseconds. So sums are exact, whoever adds
//! them up in which order.

use serde::{Deserialize, Serialize};

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Spending {
    /// Requests that went out to a provider.
    pub requests: u64,
    /// Input tokens, cached ones apart.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the provider's cache.
    pub cache_creation_tokens: u64,
    /// What they cost by the price table, in millionths of a US dollar.
    pub cost_microusd: u64,
    /// For how long requests were under way, in milliseconds; two at once count twice.
    pub model_ms: u64,
}

impl Spending {
    /// All tokens, of whatever kind.
    pub fn tokens(&self) -> u64 {
        [
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_creation_tokens,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            cache_creation_tokens: self
                .cache_creation_tokens
                .saturating_add(other.cache_creation_tokens),
            cost_microusd: self.cost_microusd.saturating_add(other.cost_microusd),
            model_ms: self.model_ms.saturating_add(other.model_ms),
        }
    }
}

/// What the store knows was used: by one session, and by all of the state directory today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Spent {
    /// By the session, in its whole life.
    pub session: Spending,
    /// By all sessions since midnight UTC.
    pub today: Spending,
}

/// How much may be used. `None` means without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Money, in millionths of a US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub cost_microusd: Option<u64>,
    /// Tokens of all kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub tokens: Option<u64>,
    /// Requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub requests: Option<u64>,
    /// Time with a request under way, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub model_ms: Option<u64>,
}

/// Which limit of a [`Budget`] was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BudgetLimit {
    /// Money.
    Cost,
    /// Tokens.
    Tokens,
    /// Requests.
    Requests,
    /// Time.
    Minutes,
}

impl Budget {
    /// Whether there is no limit at all.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// The first limit that `spent` has reached.
    pub fn reached(&self, spent: &Spending) -> Option<BudgetLimit> {
        let reached = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= limit);
        [
            (
                BudgetLimit::Cost,
                reached(self.cost_microusd, spent.cost_microusd),
            ),
            (BudgetLimit::Tokens, reached(self.tokens, spent.tokens())),
            (BudgetLimit::Requests, reached(self.requests, spent.requests)),
            (BudgetLimit::Minutes, reached(self.model_ms, spent.model_ms)),
        ]
        .into_iter()
        .find_map(|(limit, reached)| reached.then_some(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_says_which_limit_was_reached() {
        let spent = Spending {
            requests: 3,
            input_tokens: 5,
            cache_read_tokens: 6,
            cost_microusd: 7,
            model_ms: 8,
            ..Spending::default()
        };
        let none = Budget::default();
        assert_eq!(none.reached(&spent), None);
        for (budget, limit) in [
            (
                Budget {
                    cost_microusd: Some(7),
                    ..none
                },
                BudgetLimit::Cost,
            ),
            (
                Budget {
                    tokens: Some(11),
                    ..none
                },
                BudgetLimit::Tokens,
            ),
            (
                Budget {
                    requests: Some(3),
                    ..none
                },
                BudgetLimit::Requests,
            ),
            (
                Budget {
                    model_ms: Some(1),
                    ..none
                },
                BudgetLimit::Minutes,
            ),
        ] {
            assert_eq!(budget.reached(&spent), Some(limit));
        }
        assert_eq!(
            Budget {
                tokens: Some(12),
                cost_microusd: Some(8),
                ..none
            }
            .reached(&spent),
            None
        );
    }
}
