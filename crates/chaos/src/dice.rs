//! Chance that a seed decides: the same on every machine and in every version of every crate.

use std::time::Duration;

/// splitmix64, one stream of it.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another stream, which takes nothing from this one however much is drawn from it.
    pub(crate) fn stream(&self, number: u64) -> Self {
        Self(mix(self.0 ^ mix(number.wrapping_add(1))))
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Less than `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// Whether something that happens once in `of` times happens.
    pub(crate) fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// Shorter than `end`; short ones are likelier, because the beginning of things is where most can go wrong.
    pub(crate) fn time(&mut self, end: Duration) -> Duration {
        let whole = u64::try_from(end.as_micros()).unwrap_or(u64::MAX).max(1);
        let longest = self.below(whole) + 1;
        Duration::from_micros(self.below(longest))
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_the_same_again_and_another_something_else() {
        let drawn = |seed| {
            let mut dice = Dice::new(seed);
            [dice.draw(), dice.draw(), dice.stream(7).draw()]
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn times_stay_below_their_end() {
        let mut dice = Dice::new(3);
        let end = Duration::from_millis(10);
        assert!((0..1000).all(|_| dice.time(end) < end));
    }
}
