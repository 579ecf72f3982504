//! What is counted, whatever the clocks say.

use std::time::Duration;

use jiff::{Span, Timestamp};
use proptest::prelude::*;

use super::tally::{Marks, Moment, RETURN_GRACE, Tally, Verdict};
use crate::id::SessionId;
use crate::lifetime::{ExpiryCause, Lifetime, OnInterrupt};
use crate::runtime::{NetworkMode, ResourceLimits, UserIds};
use crate::session::{PermissionMode, SessionInfo, WorkspaceSource};
use crate::state::SessionState;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn noon() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn moment(boot: &str, uptime: Duration, wall: Timestamp) -> Moment {
    Moment::at(Some(boot), uptime, wall)
}

fn limit(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_millis()).ok()
}

fn info(lifetime: Lifetime) -> SessionInfo {
    SessionInfo {
        id: SessionId::new(),
        name: None,
        state: SessionState::Ready,
        created_at: noon(),
        updated_at: noon(),
        image: "debian:12".parse().unwrap(),
        network: NetworkMode::Sealed,
        limits: ResourceLimits::default(),
        workspace: WorkspaceSource::Empty,
        mounts: Vec::new(),
        user: UserIds::DEFAULT,
        agent: "claude".to_owned(),
        model: None,
        small_model: None,
        allow: Vec::new(),
        budget: Default::default(),
        permissions: PermissionMode::default(),
        mcp_config: None,
        mcp: None,
        certificates: false,
        env: Default::default(),
        labels: Default::default(),
        owner: None,
        lifetime,
        lease_until: None,
        on_interrupt: OnInterrupt::default(),
        turns: 0,
        last_event: 0,
        cost_usd: 0.0,
    }
}

fn idle(limit_of: Duration) -> Lifetime {
    Lifetime {
        idle_ms: limit(limit_of),
        ..Lifetime::default()
    }
}

fn fresh(info: &SessionInfo) -> Tally {
    Tally::first(info, Marks::of(info, None), moment("a", HOUR, noon()))
}

/// Counted until this moment, stored, and taken up by the next process at another.
fn restarted(tally: &Tally, info: &SessionInfo, left: Moment, back: Moment) -> Tally {
    let stored = serde_json::to_string(&tally.counted_at(left)).unwrap();
    serde_json::from_str::<Tally>(&stored)
        .unwrap()
        .taken_up(&info.lifetime, back)
}

/// Noted at its admission at noon, and seen for the first time at another moment.
fn first_seen(info: &SessionInfo, seen: Moment) -> Tally {
    let noted = Tally::begin(info, moment("a", HOUR, noon())).text().unwrap();
    let noted: Tally = serde_json::from_str(&noted).unwrap();
    Tally::stored(Some(noted), info, Marks::of(info, None), seen)
}

#[test]
fn a_clock_that_is_set_before_anybody_looked_ends_nothing() {
    let info = info(Lifetime {
        max_ms: limit(2 * HOUR),
        lease_ms: limit(2 * HOUR),
        idle_ms: limit(2 * HOUR),
        ..Lifetime::default()
    });
    for hours in [-100_000, 0, 100_000] {
        let wall = noon() + jiff::SignedDuration::from_hours(hours);
        let tally = first_seen(&info, moment("a", HOUR + 5 * MINUTE, wall));
        assert_eq!(
            tally.judge(&info.lifetime),
            Verdict::Lives(2 * HOUR - 5 * MINUTE),
            "set by {hours} h"
        );
    }
}

#[test]
fn a_session_is_not_idle_while_it_is_made() {
    let mut info = info(idle(HOUR));
    info.updated_at = noon() + 50 * MINUTE;
    let tally = first_seen(&info, moment("a", HOUR + 55 * MINUTE, noon() + 55 * MINUTE));
    assert_eq!(
        tally.judge(&info.lifetime),
        Verdict::Lives(HOUR - 5 * MINUTE),
        "it was ready 5 minutes ago"
    );
}

#[test]
fn each_limit_ends_a_session_and_says_which_it_was() {
    let causes = [
        (idle(HOUR), ExpiryCause::Idle),
        (
            Lifetime {
                max_ms: limit(HOUR),
                idle_ms: limit(HOUR),
                ..Lifetime::default()
            },
            ExpiryCause::MaximumLife,
        ),
        (
            Lifetime {
                lease_ms: limit(HOUR),
                ..Lifetime::default()
            },
            ExpiryCause::LeaseLapsed,
        ),
    ];
    for (lifetime, cause) in causes {
        let info = info(lifetime);
        let mut tally = fresh(&info);
        assert_eq!(tally.judge(&lifetime), Verdict::Lives(HOUR));
        tally.pass(HOUR - MINUTE);
        assert_eq!(tally.judge(&lifetime), Verdict::Lives(MINUTE));
        tally.pass(MINUTE);
        assert_eq!(tally.judge(&lifetime), Verdict::Ends(cause));
    }
    let unlimited = Lifetime::default();
    let mut tally = fresh(&info(unlimited));
    tally.pass(HOUR * 24 * 365);
    assert_eq!(tally.judge(&unlimited), Verdict::Lives(Duration::MAX));
}

#[test]
fn every_sign_of_work_begins_idleness_anew_and_nothing_else_does() {
    let mut info = info(Lifetime {
        lease_ms: limit(HOUR * 9),
        ..idle(HOUR)
    });
    let mut tally = fresh(&info);
    let waits = |info: &SessionInfo, held: bool, tally: &mut Tally| {
        tally.pass(MINUTE);
        tally.see(info, held, Marks::of(info, None));
        match tally.judge(&info.lifetime) {
            Verdict::Lives(left) => left,
            Verdict::Ends(cause) => panic!("{cause:?}"),
        }
    };
    assert_eq!(waits(&info, false, &mut tally), HOUR - MINUTE);
    assert_eq!(waits(&info, true, &mut tally), HOUR, "somebody works in it");
    info.turns += 1;
    assert_eq!(waits(&info, false, &mut tally), HOUR, "a turn was accepted");
    info.state = SessionState::Busy;
    assert_eq!(waits(&info, false, &mut tally), HOUR, "a turn runs");
    info.state = SessionState::Ready;
    info.last_event += 7;
    info.updated_at = noon() + HOUR;
    info.lease_until = Some(noon() + HOUR);
    assert_eq!(
        waits(&info, false, &mut tally),
        HOUR - MINUTE,
        "events and leases are no work"
    );
}

#[test]
fn a_lease_holds_from_its_renewal_whoever_renewed_it() {
    let lifetime = Lifetime {
        lease_ms: limit(HOUR),
        ..Lifetime::default()
    };
    let mut info = info(lifetime);
    info.lease_until = Some(noon() + HOUR);
    let mut tally = fresh(&info);
    tally.pass(HOUR - MINUTE);
    // Work is no renewal.
    tally.see(&info, true, Marks::of(&info, None));
    assert_eq!(tally.judge(&lifetime), Verdict::Lives(MINUTE));
    info.lease_until = Some(noon() + HOUR * 2);
    assert!(tally.see(&info, false, Marks::of(&info, None)));
    assert_eq!(tally.judge(&lifetime), Verdict::Lives(HOUR));
}

#[test]
fn a_wall_clock_that_jumps_between_two_daemons_changes_nothing() {
    let info = info(Lifetime {
        max_ms: limit(HOUR * 10),
        ..idle(HOUR * 10)
    });
    for wall in [noon() - HOUR * 9, noon() + HOUR * 99, noon()] {
        let left = moment("a", HOUR, noon());
        let tally = restarted(&fresh(&info), &info, left, moment("a", HOUR * 3, wall));
        assert_eq!(tally.judge(&info.lifetime), Verdict::Lives(HOUR * 8));
    }
}

#[test]
fn across_a_start_of_the_machine_time_never_goes_back_and_nobody_ends_at_once() {
    let lifetime = Lifetime {
        max_ms: limit(HOUR),
        lease_ms: limit(HOUR),
        ..idle(HOUR)
    };
    let info = info(lifetime);
    let mut tally = fresh(&info);
    tally.pass(MINUTE * 20);
    let left = || moment("a", HOUR, noon());
    let back = |wall| restarted(&tally, &info, left(), moment("b", MINUTE, wall));
    assert_eq!(
        back(noon() - HOUR * 5).judge(&lifetime),
        Verdict::Lives(MINUTE * 40)
    );
    assert_eq!(
        back(noon() + MINUTE * 10).judge(&lifetime),
        Verdict::Lives(MINUTE * 30)
    );
    // By a wall clock that may be wrong it is over long ago: there is time to come back, and not for ever.
    let mut late = back(noon() + HOUR * 500);
    assert_eq!(late.judge(&lifetime), Verdict::Lives(RETURN_GRACE));
    late.pass(RETURN_GRACE);
    assert_eq!(late.judge(&lifetime), Verdict::Ends(ExpiryCause::MaximumLife));
}

#[test]
fn the_end_of_a_life_does_not_wait_for_a_daemon_that_comes_back_on_the_same_machine() {
    let lifetime = Lifetime {
        max_ms: limit(HOUR),
        ..Lifetime::default()
    };
    let info = info(lifetime);
    let tally = restarted(
        &fresh(&info),
        &info,
        moment("a", HOUR, noon()),
        moment("a", HOUR * 2, noon()),
    );
    assert_eq!(tally.judge(&lifetime), Verdict::Ends(ExpiryCause::MaximumLife));
}

#[test]
fn this_machine_tells_its_moments() {
    let (one, other) = (Moment::now(), Moment::now());
    let info = info(idle(HOUR));
    let tally = restarted(&fresh(&info), &info, one, other);
    let Verdict::Lives(left) = tally.judge(&info.lifetime) else {
        panic!("two moments are not an hour apart")
    };
    assert!(left > HOUR - MINUTE);
}

#[derive(Debug, Clone)]
enum Step {
    /// So much passes in one process, while the wall clock jumps by so many hours.
    Pass(u64, i64),
    /// The process is killed and comes back after so many seconds.
    Restart(u64, i64),
    /// So does the machine.
    Reboot(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u64..900, -30_i64..30).prop_map(|(seconds, jump)| Step::Pass(seconds, jump)),
        1 => (0_u64..900, -30_i64..30).prop_map(|(seconds, jump)| Step::Restart(seconds, jump)),
        1 => (-30_i64..30).prop_map(Step::Reboot),
    ];
    proptest::collection::vec(step, 0..60)
}

/// Plays a course; `works` is what is seen after each step. Answers with how often the process restarted, for how long
/// it was awake, and what the session was judged to at the end or when it ended.
fn play(steps: &[Step], info: &SessionInfo, works: bool) -> (u32, Duration, Verdict) {
    let (mut boot, mut uptime, mut wall) = (0, HOUR, noon());
    let (mut restarts, mut awake) = (0, Duration::ZERO);
    let mut tally = fresh(info);
    for step in steps {
        let name = format!("boot {boot}");
        let left = moment(&name, uptime, wall);
        let jump = match step {
            Step::Pass(seconds, jump) => {
                let elapsed = Duration::from_secs(*seconds);
                (uptime, awake) = (uptime + elapsed, awake + elapsed);
                tally.pass(elapsed);
                jump
            }
            Step::Restart(seconds, jump) => {
                (uptime, restarts) = (uptime + Duration::from_secs(*seconds), restarts + 1);
                jump
            }
            Step::Reboot(jump) => {
                (boot, uptime, restarts) = (boot + 1, MINUTE, restarts + 1);
                jump
            }
        };
        wall += Span::new().hours(*jump);
        if !matches!(step, Step::Pass(..)) {
            tally = restarted(&tally, info, left, moment(&format!("boot {boot}"), uptime, wall));
        }
        tally.see(info, works, Marks::of(info, None));
        let verdict = tally.judge(&info.lifetime);
        if matches!(verdict, Verdict::Ends(_)) {
            return (restarts, awake, verdict);
        }
    }
    (restarts, awake, tally.judge(&info.lifetime))
}

proptest! {
    #[test]
    fn a_session_that_works_is_never_idle(steps in steps(), minutes in 1_u64..120) {
        let info = info(idle(MINUTE * u32::try_from(minutes).unwrap()));
        let (_, _, verdict) = play(&steps, &info, true);
        prop_assert!(matches!(verdict, Verdict::Lives(_)));
    }

    #[test]
    fn one_without_work_does_not_live_for_ever(steps in steps(), minutes in 1_u64..120) {
        let limit = MINUTE * u32::try_from(minutes).unwrap();
        let info = info(idle(limit));
        let (restarts, awake, verdict) = play(&steps, &info, false);
        // Each return gives it a minute at most.
        if awake >= limit + RETURN_GRACE * restarts {
            prop_assert_eq!(verdict, Verdict::Ends(ExpiryCause::Idle));
        }
    }

    #[test]
    fn jumps_of_the_wall_clock_within_one_start_of_the_machine_end_nothing(steps in steps()) {
        let info = info(Lifetime { max_ms: limit(HOUR * 1000), lease_ms: limit(HOUR * 1000), ..idle(HOUR * 1000) });
        let same: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Step::Reboot(_))).collect();
        let (_, _, verdict) = play(&same, &info, false);
        prop_assert!(matches!(verdict, Verdict::Lives(_)));
    }
}
