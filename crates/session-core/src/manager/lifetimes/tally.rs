//! How long a session has lived, idled and gone without a renewal: counted, never subtracted.
//!
//! A wall clock jumps, forward and backward, by hours. So nothing here compares two times of day: whoever serves adds up
//! what passes by a clock that only goes forward, and stores the sums. What passed while nobody served is taken from the
//! time since the machine started, and only across a restart of the machine, when there is nothing better, from the time of
//! day: then it is never less than nothing, and nobody ends by it before having had time to come back.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::lifetime::{ExpiryCause, Lifetime};
use crate::session::SessionInfo;
use crate::state::SessionState;
use crate::state_dir::WorkStamp;

/// What a session has left at least, of idleness and of its lease, when somebody serves again: its clients could not
/// reach anybody meanwhile.
pub(super) const RETURN_GRACE: Duration = Duration::from_secs(60);

/// One moment by the clocks that two processes have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::manager) struct Moment {
    /// Names the time between two starts of the machine; `None` where it cannot be told.
    boot: Option<String>,
    /// Since the machine started.
    uptime_ms: u64,
    wall: Timestamp,
}

impl Moment {
    /// The present one.
    pub(in crate::manager) fn now() -> Self {
        Self {
            boot: boot(),
            uptime_ms: uptime_ms().unwrap_or_default(),
            wall: Timestamp::now(),
        }
    }

    #[cfg(test)]
    pub(in crate::manager) fn at(boot: Option<&str>, uptime: Duration, wall: Timestamp) -> Self {
        Self {
            boot: boot.map(str::to_owned),
            uptime_ms: millis(uptime),
            wall,
        }
    }

    /// Whether the machine was not started in between.
    pub(in crate::manager) fn same_boot(&self, other: &Self) -> bool {
        self.boot.is_some() && self.boot == other.boot
    }

    /// What has passed since an earlier moment.
    pub(in crate::manager) fn since(&self, earlier: &Self) -> Duration {
        if self.same_boot(earlier) {
            return Duration::from_millis(self.uptime_ms.saturating_sub(earlier.uptime_ms));
        }
        between(earlier.wall, self.wall)
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}

fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

fn uptime_ms() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let hundredths: u64 = hundredths.get(..2)?.parse().ok()?;
    Some(seconds.parse::<u64>().ok()?.saturating_mul(1000) + hundredths * 10)
}

/// What shows that somebody was there: any other value than before is a sign of life, whoever gave it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Marks {
    /// How many turns were accepted.
    turns: u64,
    /// What its lease was renewed to.
    lease_until: Option<Timestamp>,
    /// When work began or ended last.
    work: Option<WorkStamp>,
}

impl Marks {
    pub(super) fn of(info: &SessionInfo, work: Option<WorkStamp>) -> Self {
        Self {
            turns: info.turns,
            lease_until: info.lease_until,
            work,
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    lived_ms: u64,
    idle_ms: u64,
    unrenewed_ms: u64,
    marks: Marks,
    /// Until when it was counted.
    at: Moment,
}

impl Tally {
    /// Of a session that is about to be made: all is counted from here on, by a clock that nobody sets.
    pub(super) fn begin(info: &SessionInfo, now: Moment) -> Self {
        Self {
            lived_ms: 0,
            idle_ms: 0,
            unrenewed_ms: 0,
            marks: Marks::of(info, None),
            at: now,
        }
    }

    /// As it is stored.
    pub(super) fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|source| {
            Error::new(ErrorKind::Internal, "store the sessions' time", "no text").with_source(source)
        })
    }

    /// Goes on with what is stored, for whoever sees the session for the first time.
    pub(super) fn stored(counted: Option<Self>, info: &SessionInfo, marks: Marks, now: Moment) -> Self {
        // Before it was ready it had nothing to be idle of. That the record knows, and can only shorten what was counted.
        let unseen = counted.as_ref().is_some_and(|counted| counted.lived_ms == 0);
        let ready = between(info.updated_at, now.wall);
        let mut tally = match counted {
            Some(tally) => tally.taken_up(&info.lifetime, now),
            None => Self::first(info, marks, now),
        };
        if unseen {
            tally.idle_ms = tally.idle_ms.min(millis(ready));
            tally.forbear(&info.lifetime, true);
        }
        tally
    }

    /// Of a session of which nothing was counted, for it was made by a version that noted nothing: what its record says of the
    /// past is believed as far as it can be.
    pub(super) fn first(info: &SessionInfo, marks: Marks, now: Moment) -> Self {
        let lived = between(info.created_at, now.wall);
        let idle = between(info.updated_at, now.wall);
        let mut tally = Self {
            lived_ms: millis(lived),
            idle_ms: millis(idle.min(lived)),
            unrenewed_ms: 0,
            marks,
            at: now,
        };
        if let (Some(lease), Some(until)) = (info.lifetime.lease_ms, info.lease_until) {
            let left = millis(between(tally.at.wall, until));
            tally.unrenewed_ms = lease.saturating_sub(left).min(tally.lived_ms);
        }
        tally.forbear(&info.lifetime, true);
        tally
    }

    /// Goes on with what another process counted, or this one before it was killed.
    pub(super) fn taken_up(mut self, lifetime: &Lifetime, now: Moment) -> Self {
        let rebooted = !now.same_boot(&self.at);
        self.pass(now.since(&self.at));
        self.at = now;
        self.forbear(lifetime, rebooted);
        self
    }

    /// Leaves time to come back; also before the end of its life when only the time of day says that it is over, or nobody has
    /// seen it yet.
    fn forbear(&mut self, lifetime: &Lifetime, by_wall_clock: bool) {
        let spare = |counted: &mut u64, limit: Option<u64>| {
            if let Some(limit) = limit {
                *counted = (*counted).min(limit - limit.min(millis(RETURN_GRACE)));
            }
        };
        spare(&mut self.idle_ms, lifetime.idle_ms);
        spare(&mut self.unrenewed_ms, lifetime.lease_ms);
        if by_wall_clock {
            spare(&mut self.lived_ms, lifetime.max_ms);
        }
    }

    /// Time passes.
    pub(super) fn pass(&mut self, elapsed: Duration) {
        let elapsed = millis(elapsed);
        for counted in [&mut self.lived_ms, &mut self.idle_ms, &mut self.unrenewed_ms] {
            *counted = counted.saturating_add(elapsed);
        }
    }

    /// Takes notice of what can be seen of the session. Answers whether that changed anything but the passing of time.
    pub(super) fn see(&mut self, info: &SessionInfo, work_held: bool, marks: Marks) -> bool {
        let renewed = self.marks.lease_until != marks.lease_until;
        let busy = matches!(info.state, SessionState::Busy) || work_held;
        let worked = busy || self.marks.turns != marks.turns || self.marks.work != marks.work;
        if renewed {
            self.unrenewed_ms = 0;
        }
        if worked {
            self.idle_ms = 0;
        }
        self.marks = marks;
        renewed || worked
    }

    /// It turned out to work, or to be kept for another reason: its idleness begins anew.
    pub(super) fn spare(&mut self) {
        self.idle_ms = 0;
    }

    /// What is stored: counted until now.
    pub(super) fn counted_at(&self, now: Moment) -> Self {
        Self {
            at: now,
            ..self.clone()
        }
    }

    /// Whether it is to end, and otherwise when it is to be judged again at the latest.
    pub(super) fn judge(&self, lifetime: &Lifetime) -> Verdict {
        let limits = [
            (lifetime.max_ms, self.lived_ms, ExpiryCause::MaximumLife),
            (lifetime.lease_ms, self.unrenewed_ms, ExpiryCause::LeaseLapsed),
            (lifetime.idle_ms, self.idle_ms, ExpiryCause::Idle),
        ];
        let mut next: Option<u64> = None;
        for (limit, counted, cause) in limits {
            match limit.map(|limit| limit.saturating_sub(counted)) {
                None => {}
                Some(0) => return Verdict::Ends(cause),
                Some(left) => next = Some(next.map_or(left, |next| next.min(left))),
            }
        }
        Verdict::Lives(next.map_or(Duration::MAX, Duration::from_millis))
    }
}

/// What comes of judging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// For so long at least.
    Lives(Duration),
    /// For this reason.
    Ends(ExpiryCause),
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
