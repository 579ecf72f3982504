//! What passes when the fixture is asked directly and not through the gateway, and why that is as it should be.
//!
//! The list is exact, as the other one is. `docs/conformance.md` shows it.

use super::super::fixture::Era;
use super::super::suites::Suite;

/// A reason, and the checks that it is the reason for.
#[derive(Debug)]
pub(in super::super) struct Lost {
    /// Why.
    pub(in super::super) reason: &'static str,
    /// Checks that both suites have, as `scenario/check`, or one name where a scenario and its check have the same.
    pub(in super::super) both: &'static [&'static str],
    /// Checks of the newer suite alone.
    pub(in super::super) newer: &'static [&'static str],
    /// Checks of the newer suite that get lost only where the fixture does not know its revision.
    pub(in super::super) newer_from_older: &'static [&'static str],
}

impl Lost {
    /// The checks of a suite, asked of a fixture of an era.
    pub(super) fn of(&self, suite: Suite, era: Era) -> impl Iterator<Item = (&'static str, &'static str)> {
        let newer = if suite == Suite::Newer { self.newer } else { &[] };
        let from_older = match (suite, era) {
            (Suite::Newer, Era::Older) => self.newer_from_older,
            _ => &[],
        };
        [self.both, newer, from_older]
            .into_iter()
            .flatten()
            .map(|name| name.split_once('/').unwrap_or((name, name)))
    }
}

/// The list.
pub(in super::super) const LOST: &[Lost] = &[];
