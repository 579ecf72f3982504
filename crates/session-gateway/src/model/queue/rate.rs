//! How many requests may start in a time, as the vendor counts its own limits: a bucket that fills evenly.

use std::time::Duration;

/// A bucket that holds a period's worth. After a pause it lets that many through at once, and then one at a time.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Between two requests, once the bucket is empty.
    interval: Duration,
    /// How far ahead of the even pace a full bucket may be.
    ahead: Duration,
    /// When the even pace has the next request.
    due: Duration,
}

impl Bucket {
    pub(super) fn new(requests: u32, per: Duration) -> Self {
        let interval = per / requests.max(1);
        Self {
            interval,
            ahead: interval * (requests.max(1) - 1),
            due: Duration::ZERO,
        }
    }

    /// Takes one out, or says when there will be one. Time never goes back; `now` that does takes nothing.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let earliest = self.due.saturating_sub(self.ahead);
        if now < earliest {
            return Err(earliest);
        }
        self.due = self.due.max(now) + self.interval;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_stretch_of_time_has_its_share_and_one_bucket(requests in 1..20u32, seconds in 1..100u64, waits in proptest::collection::vec(0..20_000u64, 1..100)) {
            let per = Duration::from_secs(seconds);
            let mut bucket = Bucket::new(requests, per);
            let (mut now, mut gone) = (Duration::ZERO, Vec::new());
            for wait in waits {
                now += Duration::from_millis(wait);
                while bucket.take(now).is_ok() {
                    gone.push(now);
                    prop_assert!(gone.len() <= 4_000);
                }
            }
            for (first, from) in gone.iter().enumerate() {
                for (last, to) in gone.iter().enumerate().skip(first) {
                    let share = (*to - *from).as_nanos() / bucket.interval.as_nanos();
                    prop_assert!((last - first + 1) as u128 <= share + u128::from(requests));
                }
            }
        }

        #[test]
        fn it_opens_when_it_says(requests in 1..20u32, seconds in 1..100u64, now in 0..1_000u64) {
            let mut bucket = Bucket::new(requests, Duration::from_secs(seconds));
            let now = Duration::from_secs(now);
            for _ in 0..requests {
                prop_assert_eq!(bucket.take(now), Ok(()));
            }
            let at = bucket.take(now).unwrap_err();
            prop_assert!(at > now);
            prop_assert!(bucket.clone().take(at - Duration::from_nanos(1)).is_err());
            prop_assert!(bucket.take(at).is_ok());
        }
    }
}
