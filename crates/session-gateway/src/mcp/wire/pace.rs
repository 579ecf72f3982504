//! How fast a server may speak unasked.
//!
//! Each message costs this process some work, which it has for all servers together. One that floods is read more slowly,
//! and has to wait like any writer whose reader is slow.

use std::time::Duration;

use tokio::time::Instant;

/// Messages that may come at once.
const BURST: f64 = 4000.0;
/// Messages a second after that: far more than progress that somebody reads.
const RATE: f64 = 2000.0;
/// The longest wait, so that clocks that jump harm nobody.
const LONGEST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            left: BURST,
            at: Instant::now(),
        }
    }

    /// A message came.
    pub(super) fn spend(&mut self) {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * RATE;
        self.at = now;
        self.left = (self.left + earned).min(BURST) - 1.0;
    }

    /// Waits until another may be read. Cancel-safe: waiting changes nothing.
    pub(super) async fn keep(&self) {
        if self.left < 0.0 {
            let wait = Duration::from_secs_f64(-self.left / RATE).min(LONGEST);
            tokio::time::sleep_until(self.at + wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_a_flood_is_slowed() {
        let (mut pace, begun) = (Pace::new(), Instant::now());
        let mut say = async |times: u32| {
            for _ in 0..times {
                pace.keep().await;
                pace.spend();
            }
        };
        say(4000).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        say(2000).await;
        let taken = begun.elapsed();
        assert!(
            taken > Duration::from_millis(900) && taken < Duration::from_secs(3),
            "{taken:?}"
        );
    }
}
