//! Holds what a suite found against what it has to find.

use std::collections::BTreeSet;

use super::exempt::EXEMPT;
use super::stand_ins::NEED_CUES;
use super::suites::{Check, Status, Suite};

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Checks that passed.
    pub(crate) passed: u64,
    /// Checks that do not apply, as the list says.
    pub(crate) exempt: u64,
    /// What is not as it has to be, a line each.
    pub(crate) failures: Vec<String>,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.exempt += other.exempt;
        self.failures.extend(other.failures);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed", self.passed)?;
        if self.exempt > 0 {
            write!(f, ", {} do not apply", self.exempt)?;
        }
        if !self.failures.is_empty() {
            write!(f, ", {} failed", self.failures.len())?;
        }
        Ok(())
    }
}

/// Judges a suite's checks: those of all of it when it is `whole`. Scenarios that need an agent on cue are passed over where
/// there is none.
pub(super) fn judge(suite: Suite, checks: &[Check], whole: bool, takes_cues: bool) -> Tally {
    let judged = |scenario: &str| takes_cues || !NEED_CUES.contains(&scenario);
    let exempt: BTreeSet<_> = EXEMPT.iter().flat_map(|exempt| exempt.of(suite)).collect();
    let ran: BTreeSet<&str> = checks.iter().map(|check| check.scenario.as_str()).collect();
    let mut tally = Tally::default();
    let mut failed = BTreeSet::new();
    for check in checks.iter().filter(|check| judged(&check.scenario)) {
        let (scenario, name) = (check.scenario.as_str(), check.name.as_str());
        match check.status {
            Status::Passed => tally.passed += 1,
            Status::Skipped => {}
            Status::Failed if exempt.contains(&(scenario, name)) => {
                tally.exempt += 1;
                failed.insert((scenario, name));
            }
            Status::Failed => tally
                .failures
                .push(format!("{scenario}: {name}: {}", check.message)),
        }
    }
    let stale = exempt
        .iter()
        .filter(|(scenario, _)| (whole || ran.contains(scenario)) && judged(scenario))
        .filter(|exempt| !failed.contains(*exempt));
    tally.failures.extend(stale.map(|(scenario, name)| {
        format!("{scenario}: {name}: is in the list of what does not apply, and does not fail")
    }));
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scenario: &str, name: &str, status: Status) -> Check {
        Check {
            scenario: scenario.to_owned(),
            name: name.to_owned(),
            status,
            message: "because".to_owned(),
        }
    }

    #[test]
    fn what_fails_must_be_listed() {
        let checks = [
            check("tools-list", "tools-list", Status::Passed),
            check("tools-list", "more", Status::Failed),
            check("prompts-list", "prompts-list", Status::Failed),
            check("prompts-list", "wire", Status::Skipped),
        ];
        let tally = judge(Suite::Older, &checks, false, true);
        assert_eq!((tally.passed, tally.exempt), (1, 1));
        assert_eq!(tally.failures, ["tools-list: more: because"]);
    }

    #[test]
    fn what_is_listed_must_fail() {
        for status in [Status::Passed, Status::Skipped] {
            let tally = judge(
                Suite::Older,
                &[check("prompts-list", "prompts-list", status)],
                false,
                true,
            );
            let [failure] = tally.failures.as_slice() else {
                panic!("{tally:?}");
            };
            assert!(failure.contains("prompts-list"), "{failure}");
        }
        let gone = judge(
            Suite::Older,
            &[check("prompts-list", "another", Status::Passed)],
            false,
            true,
        );
        assert_eq!(gone.failures.len(), 1);
        assert!(judge(Suite::Older, &[], true, true).failures.len() > 10);
        assert_eq!(judge(Suite::Older, &[], false, true), Tally::default());
    }

    #[test]
    fn without_cues_scenarios_that_need_them_say_nothing() {
        let checks = [check(
            "tools-call-with-progress",
            "tools-call-with-progress",
            Status::Failed,
        )];
        assert_eq!(judge(Suite::Older, &checks, false, false), Tally::default());
        assert_eq!(judge(Suite::Older, &checks, false, true).failures.len(), 1);
    }
}
