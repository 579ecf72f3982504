//! When a request is sent once more, and to whom. Pure: what happened goes in, what to do comes out.
//!
//! A request is sent again only while its body is still held and no byte of an answer has gone to the session. Whatever
//! happens here, the agent asks again by itself as well; this is for what passes in a moment, and for a second provider.

use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// The vendor's status for "overloaded".
const OVERLOADED: u16 = 529;
/// Longest time for which a provider is passed over because it said so.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How often and how long providers are asked for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// How many times a request is sent in all, to whichever provider. 1 means never again.
    pub attempts: u32,
    /// The wait before the same provider is asked again when it names none; doubled each time.
    #[serde(with = "millis")]
    pub first_wait: Duration,
    /// The longest wait. A provider that asks for a longer one is not asked again here: the agent is told.
    #[serde(with = "millis")]
    pub longest_wait: Duration,
    /// How long a provider that failed is passed over while another one can be asked.
    #[serde(with = "millis")]
    pub pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(5),
            pause: Duration::from_secs(60),
        }
    }
}

/// Durations as whole milliseconds, under the names that configuration files have.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// A failure that may pass, or that another provider may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The provider has too much to do.
    Busy { after: Option<Duration> },
    /// No connection, or one that broke before a byte of the answer came.
    Lost,
}

impl Trouble {
    /// Judges what came of an attempt. `None` for everything that is passed on as it is.
    pub(crate) fn of<B>(sent: &Result<Response<B>, Refusal>) -> Option<Self> {
        match sent {
            Ok(answer) if is_busy(answer.status()) => Some(Self::Busy {
                after: retry_after(answer.headers()),
            }),
            Err(Refusal::Unreachable { .. } | Refusal::Broken) => Some(Self::Lost),
            Ok(_) | Err(_) => None,
        }
    }

    /// For how long to pass the provider over.
    pub(crate) fn pause(self, policy: &RetryPolicy) -> Duration {
        match self {
            Self::Busy { after: Some(after) } => after.clamp(policy.pause, LONGEST_PAUSE.max(policy.pause)),
            Self::Busy { after: None } | Self::Lost => policy.pause,
        }
    }
}

/// Whether a status says that the provider has too much to do.
pub(crate) fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) || status.as_u16() == OVERLOADED
}

/// Whether a status says that the credential is refused.
pub(crate) fn is_unauthorized(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Seconds, as all these providers write it. A date says nothing here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask the same provider after a wait.
    Again { wait: Duration },
    /// Ask the next provider at once.
    Other,
    /// Tell the agent.
    Stop,
}

/// The attempts of one request.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    sent: u32,
    /// How often the same provider was asked again.
    again: u32,
    /// How many providers were not asked yet.
    others: usize,
}

impl Attempts {
    /// For a request that `providers` can answer.
    pub(crate) fn new(policy: RetryPolicy, providers: usize) -> Self {
        Self {
            policy,
            sent: 1,
            again: 0,
            others: providers.saturating_sub(1),
        }
    }

    /// After an attempt met with `trouble`. `jitter` is a part of one, which spreads what comes back at once.
    pub(crate) fn next(&mut self, trouble: Trouble, jitter: f64) -> Next {
        if self.sent >= self.policy.attempts {
            return Next::Stop;
        }
        if self.others > 0 {
            self.others -= 1;
            self.again = 0;
            self.sent += 1;
            return Next::Other;
        }
        let wait = match trouble {
            Trouble::Busy { after: Some(after) } => after,
            Trouble::Busy { after: None } | Trouble::Lost => {
                self.policy.first_wait.saturating_mul(1 << self.again.min(16))
            }
        };
        if wait > self.policy.longest_wait {
            return Next::Stop;
        }
        self.again += 1;
        self.sent += 1;
        Next::Again {
            wait: wait + wait.mul_f64(jitter.clamp(0.0, 1.0) / 4.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUSY: Trouble = Trouble::Busy { after: None };

    fn busy(after: u64) -> Trouble {
        Trouble::Busy {
            after: Some(Duration::from_secs(after)),
        }
    }

    fn answer(status: u16, after: Option<&str>) -> Result<Response<()>, Refusal> {
        let mut builder = Response::builder().status(status);
        if let Some(after) = after {
            builder = builder.header(RETRY_AFTER, after);
        }
        Ok(builder.body(()).unwrap())
    }

    #[test]
    fn only_what_may_pass_is_trouble() {
        assert_eq!(Trouble::of(&answer(429, Some("7"))), Some(busy(7)));
        assert_eq!(Trouble::of(&answer(529, None)), Some(BUSY));
        assert_eq!(
            Trouble::of(&answer(503, Some("Wed, 21 Oct 2026 07:28:00 GMT"))),
            Some(BUSY)
        );
        assert_eq!(Trouble::of(&answer(429, Some("-1"))), Some(BUSY));
        for status in [200, 400, 401, 403, 404, 413, 500, 502, 504] {
            assert_eq!(Trouble::of(&answer(status, Some("1"))), None, "{status}");
        }
        let refused = |refusal| Trouble::of::<()>(&Err(refusal));
        assert_eq!(refused(Refusal::Unreachable { cause: "x" }), Some(Trouble::Lost));
        assert_eq!(refused(Refusal::Broken), Some(Trouble::Lost));
        // A provider that answered something, or that may still work on it, is not asked twice.
        assert_eq!(refused(Refusal::Garbled), None);
        assert_eq!(refused(Refusal::TimedOut), None);
    }

    #[test]
    fn another_provider_goes_before_a_wait() {
        let mut attempts = Attempts::new(RetryPolicy::default(), 2);
        assert_eq!(attempts.next(busy(1), 0.0), Next::Other);
        assert_eq!(
            attempts.next(busy(1), 0.0),
            Next::Again {
                wait: Duration::from_secs(1)
            }
        );
        assert_eq!(attempts.next(BUSY, 0.0), Next::Stop);
    }

    #[test]
    fn waits_double_and_a_long_one_is_the_agent_s() {
        let policy = RetryPolicy {
            attempts: 9,
            ..RetryPolicy::default()
        };
        let mut attempts = Attempts::new(policy, 1);
        for millis in [500, 1000, 2000, 4000] {
            let wait = Duration::from_millis(millis);
            assert_eq!(attempts.next(Trouble::Lost, 0.0), Next::Again { wait });
        }
        assert_eq!(attempts.next(Trouble::Lost, 0.0), Next::Stop);
        assert_eq!(Attempts::new(policy, 1).next(busy(6), 0.0), Next::Stop);
    }

    #[test]
    fn a_pause_is_as_long_as_asked_within_bounds() {
        let policy = RetryPolicy::default();
        assert_eq!(BUSY.pause(&policy), policy.pause);
        assert_eq!(busy(1).pause(&policy), policy.pause);
        assert_eq!(busy(300).pause(&policy), Duration::from_secs(300));
        assert_eq!(busy(u64::MAX).pause(&policy), LONGEST_PAUSE);
        let long = RetryPolicy {
            pause: Duration::from_secs(3600),
            ..policy
        };
        assert_eq!(busy(1).pause(&long), long.pause);
    }

    #[test]
    fn a_policy_is_read_in_milliseconds_and_without_unknown_keys() {
        let policy: RetryPolicy = serde_json::from_str(r#"{"attempts":1,"first_wait":20}"#).unwrap();
        assert_eq!(
            (policy.attempts, policy.first_wait),
            (1, Duration::from_millis(20))
        );
        assert!(serde_json::from_str::<RetryPolicy>(r#"{"attemps":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn attempts_end_and_waits_are_bounded(
            attempts in 0_u32..12,
            providers in 0_usize..5,
            troubles in proptest::collection::vec(proptest::option::of(0_u64..1000), 0..40),
            jitter in -1.0_f64..2.0,
        ) {
            let policy = RetryPolicy { attempts, ..RetryPolicy::default() };
            let mut plan = Attempts::new(policy, providers);
            let mut sent = 1;
            for after in troubles {
                match plan.next(after.map_or(Trouble::Lost, busy), jitter) {
                    Next::Stop => break,
                    Next::Other => sent += 1,
                    Next::Again { wait } => {
                        prop_assert!(wait <= policy.longest_wait.mul_f64(1.25));
                        sent += 1;
                    }
                }
            }
            prop_assert!(sent <= attempts.max(1));
        }
    }
}
