//! What was used of the model, and of the budget for it.

use std::time::Duration;

use session_core::budget::{Budget, Spending};

use super::{count, duration, thousands};

/// Money, to the cent; less than ten cents to the hundredth of one.
pub fn usd(micros: u64) -> String {
    let (unit, places) = if micros < 100_000 { (100, 4) } else { (10_000, 2) };
    // Rounded half up: what is used shall not look like nothing.
    let rounded = micros.saturating_add(unit / 2) / unit;
    let scale = 10_u64.pow(places);
    let width = places as usize;
    format!("${}.{:0width$}", thousands(rounded / scale), rounded % scale)
}

/// A budget: `$5.00, 100,000 tokens`; `None` for one without limits.
pub fn budget(budget: &Budget) -> Option<String> {
    let parts: Vec<String> = [
        budget.cost_microusd.map(usd),
        budget.tokens.map(|tokens| count(tokens, "token")),
        budget.requests.map(|requests| count(requests, "request")),
        budget
            .model_ms
            .map(|millis| format!("{} with the model", duration(Duration::from_millis(millis)))),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What was used, in one line.
pub fn spending(spent: &Spending) -> String {
    format!(
        "{}, {}, {}, {} with the model",
        usd(spent.cost_microusd),
        count(spent.tokens(), "token"),
        count(spent.requests, "request"),
        duration(Duration::from_millis(spent.model_ms))
    )
}

/// How much of the budget is used up, in percent of the limit that is nearest; `None` for a budget without limits.
pub fn used_up(budget: &Budget, spent: &Spending) -> Option<u64> {
    let limits = [
        (budget.cost_microusd, spent.cost_microusd),
        (budget.tokens, spent.tokens()),
        (budget.requests, spent.requests),
        (budget.model_ms, spent.model_ms),
    ];
    let percent = |(limit, used): (Option<u64>, u64)| {
        let limit = u128::from(limit?.max(1));
        Some(u64::try_from(u128::from(used) * 100 / limit).unwrap_or(u64::MAX))
    };
    limits.into_iter().filter_map(percent).max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_for_people() {
        for (micros, text) in [
            (0, "$0.0000"),
            (1, "$0.0000"),
            (12_345, "$0.0123"),
            (99_999, "$0.1000"),
            (100_000, "$0.10"),
            (2_499_999, "$2.50"),
            (1_234_567_890_000, "$1,234,567.89"),
        ] {
            assert_eq!(usd(micros), text);
        }
    }

    #[test]
    fn the_limit_that_is_nearest_counts() {
        let limits = Budget {
            cost_microusd: Some(5_000_000),
            tokens: Some(1000),
            ..Budget::default()
        };
        let spent = Spending {
            cost_microusd: 400_000,
            input_tokens: 600,
            cache_read_tokens: 150,
            ..Spending::default()
        };
        assert_eq!(used_up(&limits, &spent), Some(75));
        assert_eq!(used_up(&Budget::default(), &spent), None);
        assert_eq!(budget(&limits).unwrap(), "$5.00, 1,000 tokens");
        assert_eq!(budget(&Budget::default()), None);
    }

    proptest! {
        #[test]
        fn a_limit_is_reached_at_a_hundred_percent(limit in 1_u64.., used in any::<u64>()) {
            let budget = Budget { requests: Some(limit), ..Budget::default() };
            let spent = Spending { requests: used, ..Spending::default() };
            let percent = used_up(&budget, &spent).unwrap();
            prop_assert_eq!(percent >= 100, budget.reached(&spent).is_some());
        }
    }
}
