//! What the policy says of how much this host holds, and for how long: sessions, their lives, what is derived for them.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use session_core::lifetime::Lifetime;
use session_core::manager::AdmissionPolicy;

use super::keeping::span;

const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// As good as for ever, and no number that overflows anything.
const MOST_DAYS: u64 = 36_500;

/// How many sessions this host is asked to hold; what is left out is as it is without a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// Sessions that live at the same time.
    pub max_sessions: Option<NonZeroUsize>,
    /// MiB of the host's memory that no session is to take.
    #[serde(deserialize_with = "mebibytes")]
    pub memory_reserve_mib: Option<u64>,
    /// Sessions that are made at the same time.
    pub concurrent_creations: Option<NonZeroUsize>,
    /// Requests for sessions that wait for their turn; with 0 none waits.
    pub queue: Option<usize>,
}

impl Admission {
    /// The policy.
    pub fn policy(&self) -> AdmissionPolicy {
        let usual = AdmissionPolicy::default();
        AdmissionPolicy {
            max_sessions: self.max_sessions.map_or(usual.max_sessions, NonZeroUsize::get),
            memory_reserve: self
                .memory_reserve_mib
                .map_or(usual.memory_reserve, |mib| mib * MIB),
            session_memory: usual.session_memory,
            concurrent_creations: self
                .concurrent_creations
                .map_or(usual.concurrent_creations, NonZeroUsize::get),
            waiting_creations: self.queue.unwrap_or(usual.waiting_creations),
        }
    }
}

/// When sessions end that name no time of their own. Nothing is the default: they never do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// After so long with nothing to do, such as "8h".
    #[serde(deserialize_with = "span")]
    pub idle: Option<Duration>,
    /// So long after they were made, whatever they do, such as "7d".
    #[serde(deserialize_with = "span")]
    pub max: Option<Duration>,
}

impl Lifetimes {
    /// What holds for a session that says nothing.
    pub fn lifetime(&self) -> Lifetime {
        let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Lifetime {
            idle_ms: self.idle.map(milliseconds),
            max_ms: self.max.map(milliseconds),
            ..Lifetime::default()
        }
    }
}

/// What is kept on the engine for later sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Days for which an image that was derived for sessions stays when none uses it.
    #[serde(deserialize_with = "days")]
    pub keep_days: Option<u64>,
}

impl Images {
    /// How long, or `None` for as long as is usual.
    pub fn keep(&self) -> Option<Duration> {
        self.keep_days
            .map(|days| DAY * u32::try_from(days).unwrap_or(u32::MAX))
    }
}

fn mebibytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = u64::deserialize(deserializer)?;
    match number.checked_mul(MIB) {
        Some(_) => Ok(Some(number)),
        None => Err(D::Error::custom("so much memory does not exist: it is in MiB")),
    }
}

fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match u64::deserialize(deserializer)? {
        number @ 1..=MOST_DAYS => Ok(Some(number)),
        _ => Err(D::Error::custom(format!(
            "a number of days between 1 and {MOST_DAYS}, please"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::OperatorPolicy;

    #[test]
    fn what_is_left_out_of_how_many_is_as_usual() {
        let usual = AdmissionPolicy::default();
        assert_eq!(Admission::default().policy(), usual);
        let text =
            "[admission]\nmax_sessions = 8\nmemory_reserve_mib = 1024\nconcurrent_creations = 2\nqueue = 0";
        let said = OperatorPolicy::parse(text).unwrap().admission.policy();
        let expected = AdmissionPolicy {
            max_sessions: 8,
            memory_reserve: 1 << 30,
            session_memory: usual.session_memory,
            concurrent_creations: 2,
            waiting_creations: 0,
        };
        assert_eq!(said, expected);
        let one = OperatorPolicy::parse("[admission]\nmax_sessions = 8").unwrap();
        let expected = AdmissionPolicy {
            max_sessions: 8,
            ..usual
        };
        assert_eq!(one.admission.policy(), expected);
    }

    #[test]
    fn no_session_ends_by_itself_unless_the_policy_says_so() {
        let silent = OperatorPolicy::parse("").unwrap();
        assert!(silent.lifetimes.lifetime().is_unlimited());
        assert_eq!(silent.images.keep(), None);
        let said = OperatorPolicy::parse("[lifetimes]\nidle = \"8h\"\n[images]\nkeep_days = 3").unwrap();
        let expected = Lifetime {
            idle_ms: Some(8 * 3_600_000),
            ..Lifetime::default()
        };
        assert_eq!(said.lifetimes.lifetime(), expected);
        assert_eq!(said.images.keep(), Some(3 * DAY));
        let longest = OperatorPolicy::parse("[lifetimes]\nmax = \"7d\"").unwrap();
        assert_eq!(longest.lifetimes.lifetime().max_ms, Some(7 * 86_400_000));
    }

    #[test]
    fn what_does_not_hold_is_refused_with_its_line() {
        for text in [
            "[admission]\nmax_sessions = 0",
            "[admission]\nmax_sessions = \"many\"",
            "[admission]\nmemory_reserve_mib = -1",
            "[admission]\nmemory_reserve_mib = 9223372036854775807",
            "[admission]\nconcurrent_creations = 0",
            "[admission]\nqueue = -1",
            "[admission]\nsessions = 3",
            "[lifetimes]\nidle = \"soon\"",
            "[lifetimes]\nmax = \"0s\"",
            "[lifetimes]\nlease = \"1h\"",
            "[images]\nkeep_days = 0",
            "[images]\nkeep_days = 36501",
        ] {
            let error = OperatorPolicy::parse(text).unwrap_err();
            assert!(
                error.hint().is_some() && error.to_string().contains("line: 2"),
                "{text}: {error}"
            );
        }
    }
}
