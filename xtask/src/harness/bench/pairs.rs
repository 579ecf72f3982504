//! Alternating pairs: whatever disturbs the machine disturbs both sides.

use std::time::Duration;

use xtask::error::Result;

use super::cases::Figures;
use super::stats::Series;

/// One of the two things that are compared.
pub(super) trait Side {
    /// Does it once and says how long the part took that is measured. Preparing and cleaning up are not.
    async fn once(&mut self) -> Result<Duration>;
}

/// Takes so many pairs, after one that warms up and does not count. The side that goes first changes from pair to pair.
pub(super) async fn alternate(
    rounds: usize,
    ours: &mut impl Side,
    baseline: &mut impl Side,
) -> Result<Figures> {
    ours.once().await?;
    baseline.once().await?;
    let (mut our_times, mut baseline_times) = (Series::default(), Series::default());
    for round in 0..rounds {
        if round % 2 == 0 {
            our_times.push(ours.once().await?);
            baseline_times.push(baseline.once().await?);
        } else {
            baseline_times.push(baseline.once().await?);
            our_times.push(ours.once().await?);
        }
    }
    Ok(Figures::Times {
        ours: our_times,
        baseline: baseline_times,
    })
}

/// Takes so many times of what has nothing to be compared with, after one that warms up and does not count.
pub(super) async fn repeat(rounds: usize, ours: &mut impl Side) -> Result<Figures> {
    ours.once().await?;
    let mut times = Series::default();
    for _ in 0..rounds {
        times.push(ours.once().await?);
    }
    Ok(Figures::Alone(times))
}
