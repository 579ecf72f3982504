//! Whether one more request may go out. Pure.
//!
//! What is under way has not been charged yet, so an estimate of it is held against the budget until it is. A budget is
//! spent by what was charged alone: an estimate makes a request wait, it never refuses one. So near the end of a budget
//! requests go one after another, and what can be used beyond it is
//!
//! * for requests: nothing;
//! * for money, tokens and time: what the last request that was let in uses, and what those that were under way with it
//!   use beyond their estimates. No request is cut off in the middle.

use session_core::budget::{Budget, BudgetLimit, Spending, Spent};

/// The limits of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Budgets {
    pub(super) session: Budget,
    pub(super) day: Budget,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may go.
    Go,
    /// Something under way has to end first.
    Wait,
    /// A limit is reached.
    Spent(SpentLimit),
}

/// The limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpentLimit {
    pub(crate) limit: BudgetLimit,
    /// Of the day; of the session otherwise.
    pub(crate) today: bool,
    /// How much was allowed, in the unit of the limit.
    pub(crate) allowed: u64,
}

impl SpentLimit {
    /// What the agent is told: which limit, and what to do.
    pub(crate) fn message(self) -> String {
        let of = if self.today {
            "today's budget"
        } else {
            "this session's budget"
        };
        let allowed = self.allowed;
        let counted = |number: u64, of: &str| format!("{number} {of}{}", if number == 1 { "" } else { "s" });
        let amount = match self.limit {
            BudgetLimit::Cost => format!(
                "{}.{:02} US dollars",
                allowed / 1_000_000,
                allowed % 1_000_000 / 10_000
            ),
            BudgetLimit::Tokens => counted(allowed, "token"),
            BudgetLimit::Requests => counted(allowed, "request"),
            BudgetLimit::Minutes if allowed.is_multiple_of(60_000) => {
                counted(allowed / 60_000, "minute") + " with the model"
            }
            BudgetLimit::Minutes => counted(allowed / 1_000, "second") + " with the model",
        };
        let then = if self.today {
            "It starts anew at midnight UTC, or when a person raises the daily budget."
        } else {
            "The work can go on when a person raises the budget."
        };
        format!("{of} of {amount} is spent, so nothing more is sent to the model. {then}")
    }
}

impl Budgets {
    /// Whether there is any limit.
    pub(super) fn any(&self) -> bool {
        self.session != Budget::default() || self.day != Budget::default()
    }

    /// Which limit is reached by what was charged.
    pub(super) fn reached(&self, spent: &Spent) -> Option<SpentLimit> {
        let of = |budget: &Budget, spent: &Spending, today: bool| {
            let limit = budget.reached(spent)?;
            Some(SpentLimit {
                limit,
                today,
                allowed: allowed(budget, limit),
            })
        };
        of(&self.session, &spent.session, false).or_else(|| of(&self.day, &spent.today, true))
    }

    /// Whether a request may go beside those that are under way: of the session, and of all.
    pub(super) fn judge(&self, spent: &Spent, own: &Spending, all: &Spending) -> Verdict {
        if let Some(limit) = self.reached(spent) {
            return Verdict::Spent(limit);
        }
        let with = Spent {
            session: spent.session.plus(own),
            today: spent.today.plus(all),
        };
        match self.reached(&with) {
            Some(_) => Verdict::Wait,
            None => Verdict::Go,
        }
    }
}

fn allowed(budget: &Budget, limit: BudgetLimit) -> u64 {
    let allowed = match limit {
        BudgetLimit::Cost => budget.cost_microusd,
        BudgetLimit::Tokens => budget.tokens,
        BudgetLimit::Requests => budget.requests,
        BudgetLimit::Minutes => budget.model_ms,
    };
    allowed.unwrap_or_default()
}

/// Both budgets at once: of each limit the tighter one.
pub(super) fn tighter(one: &Budget, other: &Budget) -> Budget {
    let both = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Budget {
        cost_microusd: both(one.cost_microusd, other.cost_microusd),
        tokens: both(one.tokens, other.tokens),
        requests: both(one.requests, other.requests),
        model_ms: both(one.model_ms, other.model_ms),
    }
}

/// The greater of both, each amount by itself.
pub(super) fn most(one: &Spending, other: &Spending) -> Spending {
    Spending {
        requests: one.requests.max(other.requests),
        input_tokens: one.input_tokens.max(other.input_tokens),
        output_tokens: one.output_tokens.max(other.output_tokens),
        cache_read_tokens: one.cache_read_tokens.max(other.cache_read_tokens),
        cache_creation_tokens: one.cache_creation_tokens.max(other.cache_creation_tokens),
        cost_microusd: one.cost_microusd.max(other.cost_microusd),
        model_ms: one.model_ms.max(other.model_ms),
    }
}

/// `one` without `other`, which is a part of it.
pub(super) fn without(one: &Spending, other: &Spending) -> Spending {
    Spending {
        requests: one.requests.saturating_sub(other.requests),
        input_tokens: one.input_tokens.saturating_sub(other.input_tokens),
        output_tokens: one.output_tokens.saturating_sub(other.output_tokens),
        cache_read_tokens: one.cache_read_tokens.saturating_sub(other.cache_read_tokens),
        cache_creation_tokens: one
            .cache_creation_tokens
            .saturating_sub(other.cache_creation_tokens),
        cost_microusd: one.cost_microusd.saturating_sub(other.cost_microusd),
        model_ms: one.model_ms.saturating_sub(other.model_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cost(cost_microusd: u64) -> Spending {
        Spending {
            requests: 1,
            cost_microusd,
            ..Spending::default()
        }
    }

    #[test]
    fn an_estimate_makes_wait_and_only_a_charge_refuses() {
        let budgets = Budgets {
            session: Budget {
                cost_microusd: Some(100),
                ..Budget::default()
            },
            day: Budget {
                cost_microusd: Some(1_000),
                ..Budget::default()
            },
        };
        let judge = |session: u64, today: u64, own: u64, all: u64| {
            let spent = Spent {
                session: cost(session),
                today: cost(today),
            };
            budgets.judge(&spent, &cost(own), &cost(all))
        };
        assert_eq!(judge(99, 999, 0, 0), Verdict::Go);
        assert_eq!(judge(99, 99, 1, 1), Verdict::Wait);
        assert_eq!(judge(99, 999, 0, 1), Verdict::Wait);
        let spent = |today: bool, allowed: u64| {
            Verdict::Spent(SpentLimit {
                limit: BudgetLimit::Cost,
                today,
                allowed,
            })
        };
        assert_eq!(judge(100, 100, 0, 0), spent(false, 100));
        assert_eq!(judge(0, 1_000, 0, 0), spent(true, 1_000));
    }

    #[test]
    fn the_agent_is_told_which_limit_and_what_to_do() {
        let message = |limit, today, allowed| {
            SpentLimit {
                limit,
                today,
                allowed,
            }
            .message()
        };
        for (text, words) in [
            (
                message(BudgetLimit::Cost, false, 2_500_000),
                "this session's budget of 2.50 US dollars is spent",
            ),
            (
                message(BudgetLimit::Tokens, false, 1),
                "budget of 1 token is spent",
            ),
            (
                message(BudgetLimit::Requests, true, 20),
                "today's budget of 20 requests is spent",
            ),
            (
                message(BudgetLimit::Minutes, false, 120_000),
                "of 2 minutes with the model",
            ),
            (
                message(BudgetLimit::Minutes, false, 30_000),
                "of 30 seconds with the model",
            ),
            (message(BudgetLimit::Cost, true, 1), "midnight UTC"),
            (message(BudgetLimit::Cost, false, 1), "a person raises the budget"),
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    fn spending() -> impl Strategy<Value = Spending> {
        let amount = || prop_oneof![0..100u64, any::<u64>()];
        (
            amount(),
            amount(),
            amount(),
            amount(),
            amount(),
            amount(),
            amount(),
        )
            .prop_map(
                |(
                    requests,
                    input_tokens,
                    output_tokens,
                    cache_read_tokens,
                    cache_creation_tokens,
                    cost_microusd,
                    model_ms,
                )| {
                    Spending {
                        requests,
                        input_tokens,
                        output_tokens,
                        cache_read_tokens,
                        cache_creation_tokens,
                        cost_microusd,
                        model_ms,
                    }
                },
            )
    }

    fn budget() -> impl Strategy<Value = Budget> {
        let limit = || proptest::option::of(prop_oneof![0..100u64, any::<u64>()]);
        (limit(), limit(), limit(), limit()).prop_map(|(cost_microusd, tokens, requests, model_ms)| Budget {
            cost_microusd,
            tokens,
            requests,
            model_ms,
        })
    }

    proptest! {
        #[test]
        fn who_has_spent_more_is_never_let_in_sooner(session in budget(), day in budget(), one in [spending(), spending(), spending(), spending()], more in spending(), which in 0..4usize) {
            let budgets = Budgets { session, day };
            let rank = |amounts: &[Spending; 4]| {
                let spent = Spent { session: amounts[0], today: amounts[1] };
                match budgets.judge(&spent, &amounts[2], &amounts[3]) {
                    Verdict::Go => 0,
                    Verdict::Wait => 1,
                    Verdict::Spent(_) => 2,
                }
            };
            let mut other = one;
            other[which] = other[which].plus(&more);
            prop_assert!(rank(&other) >= rank(&one));
        }

        #[test]
        fn both_budgets_hold(one in budget(), other in budget(), spent in spending()) {
            let both = tighter(&one, &other).reached(&spent).is_some();
            prop_assert_eq!(both, one.reached(&spent).is_some() || other.reached(&spent).is_some());
        }

        #[test]
        fn a_request_that_nothing_is_under_way_with_never_waits(session in budget(), day in budget(), spent in [spending(), spending()]) {
            let none = Spending::default();
            let spent = Spent { session: spent[0], today: spent[1] };
            prop_assert_ne!(Budgets { session, day }.judge(&spent, &none, &none), Verdict::Wait);
        }

        #[test]
        fn requests_are_counted_to_the_last(limit in 0..50u64, spent in 0..50u64, under_way in 0..50u64) {
            let budgets = Budgets { session: Budget { requests: Some(limit), ..Budget::default() }, day: Budget::default() };
            let of = |requests| Spending { requests, ..Spending::default() };
            let verdict = budgets.judge(&Spent { session: of(spent), today: of(spent) }, &of(under_way), &of(under_way));
            prop_assert_eq!(verdict == Verdict::Go, spent + under_way < limit);
        }

        #[test]
        fn what_is_added_can_be_taken_off(one in spending(), other in spending()) {
            let sum = one.plus(&other);
            // A sum that met its upper bound has forgotten its parts, and is above every limit but the highest.
            let whole = [
                (one.requests, other.requests), (one.input_tokens, other.input_tokens), (one.output_tokens, other.output_tokens),
                (one.cache_read_tokens, other.cache_read_tokens), (one.cache_creation_tokens, other.cache_creation_tokens),
                (one.cost_microusd, other.cost_microusd), (one.model_ms, other.model_ms),
            ].iter().all(|(one, other)| one.checked_add(*other).is_some());
            prop_assert!(!whole || without(&sum, &other) == one);
            prop_assert_eq!(most(&one, &sum), sum);
        }
    }
}
