//! Holds what a suite found through the gateway against what it found when it asked the fixture directly.

use std::collections::{BTreeMap, BTreeSet};

use super::super::fixture::Era;
use super::super::judge::Tally;
use super::super::suites::{Check, Status, Suite};
use super::lost::LOST;

/// What a check came to: its name can stand several times in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    status: Status,
    message: String,
}

type Verdicts<'a> = BTreeMap<(&'a str, &'a str), Verdict>;

/// What passed directly passes through the gateway; what does not is in the list, and what is in the list does not. Only of a
/// suite that is `whole`, what is missing says something.
pub(super) fn compare(suite: Suite, era: Era, direct: &[Check], through: &[Check], whole: bool) -> Tally {
    let exempt = LOST.iter().flat_map(|lost| lost.of(suite, era));
    let exempt: BTreeSet<_> = exempt.collect();
    let (direct, through) = (verdicts(direct), verdicts(through));
    let mut tally = Tally::default();
    let mut used = BTreeSet::new();
    for check in direct.keys().chain(through.keys()).collect::<BTreeSet<_>>() {
        match worse(direct.get(check), through.get(check)) {
            None => tally.passed += u64::from(passed(through.get(check))),
            Some(_) if exempt.contains(check) => {
                tally.exempt += 1;
                used.insert(*check);
            }
            Some(how) => tally.failures.push(format!("{}: {}: {how}", check.0, check.1)),
        }
    }
    let ran: BTreeSet<_> = direct.keys().map(|(scenario, _)| *scenario).collect();
    let stale = exempt
        .iter()
        .filter(|check| (whole || ran.contains(check.0)) && !used.contains(*check));
    tally.failures.extend(stale.map(|(scenario, name)| {
        format!("{scenario}: {name}: is in the list of what gets lost in the gateway, and does not")
    }));
    tally
}

/// How a check fares worse through the gateway, if it does.
fn worse(direct: Option<&Verdict>, through: Option<&Verdict>) -> Option<String> {
    let directly = direct.map(|verdict| verdict.status);
    match through {
        // What the fixture itself does not do, the gateway need not.
        _ if directly == Some(Status::Failed) => None,
        Some(Verdict {
            status: Status::Failed,
            message,
        }) => Some(format!("fails through the gateway alone: {message}")),
        Some(Verdict {
            status: Status::Passed,
            ..
        }) => None,
        _ if directly == Some(Status::Passed) => {
            Some("passes directly, and is not checked through the gateway".to_owned())
        }
        _ => None,
    }
}

fn passed(verdict: Option<&Verdict>) -> bool {
    verdict.is_some_and(|verdict| verdict.status == Status::Passed)
}

/// The worst of each: one failure is a failure, and what is nowhere passed was not checked.
fn verdicts(checks: &[Check]) -> Verdicts<'_> {
    let rank = |status| match status {
        Status::Skipped => 0,
        Status::Passed => 1,
        Status::Failed => 2,
    };
    let mut verdicts = Verdicts::new();
    for check in checks {
        let found = Verdict {
            status: check.status,
            message: check.message.clone(),
        };
        let verdict = verdicts
            .entry((check.scenario.as_str(), check.name.as_str()))
            .or_insert_with(|| found.clone());
        if rank(found.status) > rank(verdict.status) {
            *verdict = found;
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, status: Status) -> Check {
        Check {
            scenario: "some-scenario".to_owned(),
            name: name.to_owned(),
            status,
            message: "because".to_owned(),
        }
    }

    fn compared(direct: &[Check], through: &[Check]) -> Tally {
        compare(Suite::Newer, Era::Newer, direct, through, false)
    }

    #[test]
    fn what_passes_directly_has_to_pass() {
        let direct = ["a", "b", "c"].map(|name| check(name, Status::Passed));
        let through = [check("a", Status::Passed), check("b", Status::Failed)];
        let tally = compared(&direct, &through);
        assert_eq!(tally.passed, 1);
        assert_eq!(
            tally.failures,
            [
                "some-scenario: b: fails through the gateway alone: because",
                "some-scenario: c: passes directly, and is not checked through the gateway",
            ]
        );
    }

    #[test]
    fn what_the_fixture_does_not_do_the_gateway_need_not() {
        let direct = [check("a", Status::Failed), check("b", Status::Skipped)];
        let through = [check("a", Status::Failed), check("b", Status::Skipped)];
        assert_eq!(compared(&direct, &through), Tally::default());
        assert_eq!(compared(&direct, &[]), Tally::default());
    }

    #[test]
    fn what_only_the_gateway_fails_at_is_its_failure() {
        let tally = compared(&[], &[check("new", Status::Failed)]);
        assert_eq!(tally.failures.len(), 1, "{tally:?}");
        let once = [check("a", Status::Passed), check("a", Status::Failed)];
        let tally = compared(&[check("a", Status::Passed)], &once);
        assert_eq!(tally.failures.len(), 1, "one of several is enough: {tally:?}");
    }
}
