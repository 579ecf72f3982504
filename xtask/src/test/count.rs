//! Counts tests from what cargo prints.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed and failed. Ignored ones count as neither: there are none, see `cargo xtask tidy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl Count {
    /// The tests of a line such as `test result: ok. 3 passed; 0 failed; …`.
    pub(super) fn of_line(line: &str) -> Option<Self> {
        let (_, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let number = |what: &str| {
            let part = numbers
                .split(';')
                .find_map(|part| part.trim().strip_suffix(what))?;
            part.trim().parse().ok()
        };
        Some(Self {
            passed: number(" passed")?,
            failed: number(" failed")?,
        })
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_says() {
        let ok =
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.2s";
        let mut sum = Count::of_line(ok).expect("a result");
        sum += Count::of_line(bad).expect("a result");
        assert_eq!(
            sum,
            Count {
                passed: 13,
                failed: 2
            }
        );
        assert_eq!(sum.to_string(), "13 passed, 2 failed");
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "test a::b ... ok",
            "test result: ok",
            "test result: ok. many passed; 0 failed",
        ] {
            assert_eq!(Count::of_line(line), None, "{line}");
        }
    }
}
