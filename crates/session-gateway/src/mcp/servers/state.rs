//! The life of one instance of a server, as a pure function: no task, no lock, no clock of its own (I7).
//!
//! ```text
//!                    wanted                 initialized, tools listed
//!           ┌─────┐ ────────▶ ┌──────────┐ ───────────────────────────▶ ┌───────┐ ─┐ proved: a call succeeded, or it
//!           │Idle │           │ Starting │                              │ Ready │  │ stayed up; failures = 0
//!           └─────┘ ◀──────── └──────────┘                              └───────┘ ◀┘
//!              ▲  ▲   stopped  │  │  ▲                                    │   │
//!              │  └────────────│──│──│────────────────────────────────────┘   │ ended by itself
//!     restored │        failed │  │  │ wanted, and `until` is over            ▼
//!           ┌─────────┐        │  └──│──────────────────────────────▶ ┌────────────────┐
//!           │ Removed │        │     └─────────────────────────────── │ Failed{until}  │ pause doubles, up to a cap
//!           └─────────┘        │ a login is needed                    └────────────────┘
//!              ▲               ▼                                              │ too many in a row
//!              │        ┌───────────────────┐                         ┌────────────────┐
//!   (any) ─────┘        │ NeedsLogin{until} │                         │ GaveUp{until}  │ one more try per cap
//!    removed            └───────────────────┘                         └────────────────┘
//! ```
//!
//! Nobody is started because time went by: only somebody who wants it starts a server, and only where
//! [`Life::wanted`] says so. A server that crashes after it proved itself may be started again at once, but not over and
//! over: each start costs a process or a container. One that does it again soon has to take a breath; one that does not come
//! up, or ends before it was of any use, is waited for longer each time.

use std::time::Duration;

use session_core::mcp::ServerState;
use tokio::time::Instant;

/// How often a server that wants a login is tried again, at most: trying asks for the login that is stored, nobody else.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause of a server that proves itself and ends over and over, in pauses after a first failure.
const HASTY: u32 = 8;

/// How patient supervision is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The pause after the first failure.
    pub(crate) backoff: Duration,
    /// The longest pause, and how long a server has to be up to have proved itself without a call.
    pub(crate) max_backoff: Duration,
    /// Failures in a row after which a server is given up.
    pub(crate) max_failures: u32,
}

impl Pace {
    /// The pause after so many failures in a row.
    fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.backoff
            .saturating_mul(1_u32 << doublings)
            .min(self.max_backoff)
    }
}

/// What may be done for somebody who wants the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is there.
    Use,
    /// It is to be started, by whoever asked.
    Start,
    /// Somebody is starting it.
    Join,
    /// It is held off until then.
    Wait(Instant),
    /// It may not be used at all.
    Never,
}

/// How a life failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// In a way that another try may mend.
    Failure,
    /// A person has to log in first.
    Login,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Starting,
    Ready { proved: bool },
    Failed { until: Instant },
    GaveUp { until: Instant },
    NeedsLogin { until: Instant },
    Removed,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pace: Pace,
    phase: Phase,
    failures: u32,
    /// When it was started last.
    begun: Option<Instant>,
    /// When it ended last by itself, and how often in a row that was soon although it had proved itself.
    ended: Option<Instant>,
    hasty: u32,
}

impl Life {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            phase: Phase::Idle,
            failures: 0,
            begun: None,
            ended: None,
            hasty: 0,
        }
    }

    /// What may be done for somebody who wants the server now.
    pub(crate) fn wanted(&self, now: Instant) -> Wanted {
        match self.phase {
            Phase::Idle => Wanted::Start,
            Phase::Starting => Wanted::Join,
            Phase::Ready { .. } => Wanted::Use,
            Phase::Failed { until } | Phase::GaveUp { until } | Phase::NeedsLogin { until } => {
                if now < until {
                    Wanted::Wait(until)
                } else {
                    Wanted::Start
                }
            }
            Phase::Removed => Wanted::Never,
        }
    }

    /// It is being started. Whether that was allowed: `false` changes nothing.
    pub(crate) fn start(&mut self, now: Instant) -> bool {
        let allowed = self.wanted(now) == Wanted::Start;
        if allowed {
            self.phase = Phase::Starting;
            self.begun = Some(now);
        }
        allowed
    }

    /// It is initialized.
    pub(crate) fn started(&mut self) {
        if self.phase == Phase::Starting {
            self.phase = Phase::Ready { proved: false };
        }
    }

    /// A call succeeded, or it stayed up for long.
    pub(crate) fn proved(&mut self) {
        if let Phase::Ready { proved } = &mut self.phase {
            *proved = true;
            self.failures = 0;
        }
    }

    /// It did not come up, or ended by itself.
    pub(crate) fn failed(&mut self, fault: Fault, now: Instant) {
        let proved = match self.phase {
            Phase::Starting => false,
            Phase::Ready { proved } => proved,
            // Nothing of it was running.
            _ => return,
        };
        if fault == Fault::Login {
            self.phase = Phase::NeedsLogin {
                until: now + LOGIN_PAUSE,
            };
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.phase = if proved {
            Phase::Failed {
                until: now + self.breath(now),
            }
        } else if self.failures >= self.pace.max_failures {
            Phase::GaveUp {
                until: now + self.pace.max_backoff,
            }
        } else {
            Phase::Failed {
                until: now + self.pace.pause(self.failures),
            }
        };
    }

    /// How long to wait before one comes back that had proved itself.
    fn breath(&mut self, now: Instant) -> Duration {
        let passed = |since: Option<Instant>| since.map(|since| now.saturating_duration_since(since));
        let lasted = passed(self.begun).is_none_or(|up| up >= self.pace.max_backoff);
        let is_rare = passed(self.ended.replace(now)).is_none_or(|since| since >= self.pace.max_backoff * 2);
        if lasted || is_rare {
            self.hasty = 0;
        }
        let breath = match self.hasty {
            0 => Duration::ZERO,
            // Bounded: who calls it next waits for it, and is not refused.
            hasty => self.pace.pause(hasty).min(self.pace.backoff * HASTY),
        };
        self.hasty = self.hasty.saturating_add(1);
        breath
    }

    /// It was ended by us, as it should be.
    pub(crate) fn stopped(&mut self) {
        if matches!(self.phase, Phase::Starting | Phase::Ready { .. }) {
            self.phase = Phase::Idle;
        }
    }

    /// The operator took it away. Whatever runs has to be ended.
    pub(crate) fn removed(&mut self) {
        self.phase = Phase::Removed;
        self.failures = 0;
        self.hasty = 0;
    }

    /// The operator declared it, or declared it anew: what was known of its failures is of another server.
    pub(crate) fn declared(&mut self) {
        if !matches!(self.phase, Phase::Starting | Phase::Ready { .. }) {
            self.phase = Phase::Idle;
            self.failures = 0;
            self.hasty = 0;
        }
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when it is held off.
    pub(crate) fn held_off(&self) -> Option<Instant> {
        match self.phase {
            Phase::Failed { until } | Phase::GaveUp { until } => Some(until),
            _ => None,
        }
    }

    /// The state as others see it.
    pub(crate) fn state(&self) -> ServerState {
        match self.phase {
            Phase::Idle => ServerState::Idle,
            Phase::Starting => ServerState::Starting,
            Phase::Ready { .. } => ServerState::Ready,
            Phase::Failed { .. } => ServerState::Failed,
            Phase::GaveUp { .. } => ServerState::GaveUp,
            Phase::NeedsLogin { .. } => ServerState::NeedsLogin,
            Phase::Removed => ServerState::Removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace() -> Pace {
        Pace {
            backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(60),
            max_failures: 8,
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Start,
        Started,
        Proved,
        Failed,
        Login,
        Stopped,
        Removed,
        Declared,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u64..100_000).prop_map(Step::Pass),
            8 => Just(Step::Start),
            4 => Just(Step::Started),
            1 => Just(Step::Proved),
            6 => Just(Step::Failed),
            1 => Just(Step::Login),
            1 => Just(Step::Stopped),
            1 => Just(Step::Removed),
            1 => Just(Step::Declared),
        ];
        proptest::collection::vec(step, 0..80)
    }

    proptest! {
        #[test]
        fn whatever_happens_one_start_at_a_time_and_never_too_early(steps in steps()) {
            let begun = Instant::now();
            let mut now = begun;
            let mut life = Life::new(pace());
            let mut running = false;
            let mut removed = false;
            let mut held: Option<Instant> = None;
            for step in steps {
                let failures = life.failures();
                match step {
                    Step::Pass(ms) => now += Duration::from_millis(ms),
                    Step::Start => {
                        let started = life.start(now);
                        let allowed = !running && !removed && held.is_none_or(|until| now >= until);
                        prop_assert_eq!(started, allowed);
                        running |= started;
                    }
                    Step::Started => life.started(),
                    Step::Proved => {
                        let ready = life.state() == ServerState::Ready;
                        life.proved();
                        prop_assert_eq!(life.failures(), if ready { 0 } else { failures });
                    }
                    Step::Failed => {
                        life.failed(Fault::Failure, now);
                        if running {
                            running = false;
                            prop_assert_eq!(life.failures(), failures + 1);
                            let until = life.held_off().expect("held off");
                            prop_assert!(until - now <= pace().max_backoff);
                            held = Some(until);
                        }
                    }
                    Step::Login => {
                        life.failed(Fault::Login, now);
                        if running {
                            running = false;
                            prop_assert_eq!(life.state(), ServerState::NeedsLogin);
                            prop_assert_eq!(life.failures(), failures);
                            held = Some(now + LOGIN_PAUSE);
                        }
                    }
                    Step::Stopped => {
                        life.stopped();
                        if running {
                            running = false;
                            held = None;
                        }
                        prop_assert_eq!(life.failures(), failures);
                    }
                    Step::Removed => {
                        life.removed();
                        (running, removed, held) = (false, true, None);
                    }
                    Step::Declared => {
                        life.declared();
                        if !running {
                            (removed, held) = (false, None);
                        }
                    }
                }
                prop_assert_eq!(
                    running,
                    matches!(life.state(), ServerState::Starting | ServerState::Ready)
                );
                prop_assert_eq!(removed, life.state() == ServerState::Removed);
            }
        }

        #[test]
        fn a_pause_doubles_up_to_its_cap(failures in 1_u32..200) {
            let (this, next) = (pace().pause(failures), pace().pause(failures + 1));
            prop_assert_eq!(next, (this * 2).min(pace().max_backoff));
            prop_assert!(this >= pace().backoff);
        }
    }

    #[test]
    fn a_server_that_never_comes_up_is_given_up_and_tried_once_per_cap() {
        let mut now = Instant::now();
        let mut life = Life::new(pace());
        for _ in 0..pace().max_failures {
            assert_eq!(life.wanted(now), Wanted::Start);
            assert!(life.start(now));
            life.failed(Fault::Failure, now);
            now = life.held_off().unwrap();
        }
        assert_eq!(life.state(), ServerState::GaveUp);
        assert!(life.start(now));
        life.failed(Fault::Failure, now);
        assert_eq!(life.state(), ServerState::GaveUp, "still");
        assert_eq!(life.wanted(now), Wanted::Wait(now + pace().max_backoff));
    }

    #[test]
    fn one_that_proved_itself_may_come_back_at_once_but_not_twice() {
        let now = Instant::now();
        let mut life = Life::new(pace());
        life.start(now);
        life.started();
        life.proved();
        life.failed(Fault::Failure, now);
        assert_eq!((life.state(), life.failures()), (ServerState::Failed, 1));
        assert!(life.start(now), "at once");
        life.started();
        life.failed(Fault::Failure, now);
        assert_eq!(life.wanted(now), Wanted::Wait(now + pace().backoff * 2));
    }

    #[test]
    fn one_that_proves_itself_and_ends_over_and_over_is_waited_for() {
        let begun = Instant::now();
        let (mut now, mut life, mut starts) = (begun, Life::new(pace()), 0);
        while now < begun + pace().max_backoff * 10 {
            assert!(life.start(now));
            starts += 1;
            life.started();
            life.proved();
            now += Duration::from_millis(5);
            life.failed(Fault::Failure, now);
            now = life.held_off().unwrap();
        }
        assert!(starts < 310, "one in two seconds: {starts}");

        // Who lasts, or is not seen to end for long, starts anew.
        now += pace().max_backoff;
        for _ in 0..3 {
            assert!(life.start(now));
            life.started();
            life.proved();
            now += pace().max_backoff;
            life.failed(Fault::Failure, now);
            assert_eq!(life.wanted(now), Wanted::Start);
        }
    }
}
