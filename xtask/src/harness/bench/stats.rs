//! What a series of times comes to.

use std::time::Duration;

use serde_json::{Value, json};

/// Times of one thing, in the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<Duration>);

impl Series {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, times: impl IntoIterator<Item = Duration>) {
        self.0.extend(times);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    /// The smallest time that so large a part of all do not exceed; of few times the p99 is the largest.
    fn quantile(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a series is short, and its part lies between nothing and all of it"
        )]
        let rank = (sorted.len() as f64 * part).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "rounds": self.len(),
            "median_ms": milliseconds(self.median()),
            "p99_ms": milliseconds(self.p99()),
            "all_ms": self.0.iter().copied().map(milliseconds).collect::<Vec<_>>(),
        })
    }
}

/// Milliseconds with three digits behind the point.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(milliseconds: impl IntoIterator<Item = u64>) -> Series {
        Series(milliseconds.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn quantiles_are_times_that_were_taken() {
        let hundred = series((1..=100).rev());
        assert_eq!(hundred.median(), Duration::from_millis(50));
        assert_eq!(hundred.p99(), Duration::from_millis(99));
        assert_eq!(series([3, 1, 2]).median(), Duration::from_millis(2));
        assert_eq!(series([3, 1, 2]).p99(), Duration::from_millis(3));
        assert_eq!(Series::default().median(), Duration::ZERO);
    }
}
