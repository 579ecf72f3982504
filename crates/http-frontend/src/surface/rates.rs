//! How often somebody may ask.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue};
use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::options::{HttpOptions, Rate};

/// The most addresses whose failures are remembered between two sweeps.
const MAX_ADDRESSES: usize = 16 << 10;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, MonotonicClock, StateInformationMiddleware>;

/// What is left to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    rate: Rate,
    remaining: u32,
}

/// Nothing to tell where nothing is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told(Option<Allowance>);

impl Told {
    pub(super) const UNLIMITED: Self = Self(None);

    pub(super) fn tell(self, headers: &mut HeaderMap) {
        if let Some(allowance) = self.0 {
            allowance.tell(headers);
        }
    }
}

impl Allowance {
    /// The headers that clients of rate limits know.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Rate { requests, window } = self.rate;
        let used = requests.saturating_sub(self.remaining);
        let reset = window.mul_f64(f64::from(used) / f64::from(requests.max(1)));
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        headers.insert("ratelimit-limit", HeaderValue::from(requests));
        headers.insert("ratelimit-remaining", HeaderValue::from(self.remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(seconds(reset)));
        if let Ok(policy) = HeaderValue::try_from(format!("{requests};w={}", seconds(window))) {
            headers.insert("ratelimit-policy", policy);
        }
    }
}

/// See the module.
pub(super) struct Rates {
    tokens: (Limiter<Arc<str>>, Rate),
    compat: (Limiter<Arc<str>>, Rate),
    failures: Limiter<IpAddr>,
    /// Addresses that guessed too often, and until when they have to wait.
    guessing: Mutex<HashMap<IpAddr, Instant>>,
}

impl Rates {
    pub(super) fn new(options: &HttpOptions) -> Self {
        Self {
            tokens: (limiter(options.rate), options.rate),
            compat: (limiter(options.compat_rate), options.compat_rate),
            failures: limiter(options.failure_rate),
            guessing: Mutex::default(),
        }
    }

    /// Counts a request of a token: what is left, or how long it has to wait.
    pub(super) fn request(&self, token: &str, path: &str) -> Result<Told, (Duration, Allowance)> {
        let (limiter, rate) = if is_compat(path) {
            &self.compat
        } else {
            &self.tokens
        };
        let allowance = |remaining| Allowance {
            rate: *rate,
            remaining,
        };
        match limiter.check_key(&Arc::from(token)) {
            Ok(snapshot) => Ok(Told(Some(allowance(snapshot.remaining_burst_capacity())))),
            Err(not_until) => Err((not_until.wait_time_from(limiter.clock().now()), allowance(0))),
        }
    }

    /// How long an address has to wait that presented too many tokens that are none.
    pub(super) fn guessing(&self, from: IpAddr) -> Option<Duration> {
        let guessing = self.guessing.lock().unwrap_or_else(PoisonError::into_inner);
        let until = guessing.get(&network(from))?;
        Some(until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    /// Counts a wrong token from an address.
    pub(super) fn failed(&self, from: IpAddr) {
        let from = network(from);
        if self.failures.len() >= MAX_ADDRESSES {
            self.sweep();
        }
        if let Err(not_until) = self.failures.check_key(&from) {
            let wait = not_until.wait_time_from(self.failures.clock().now());
            let mut guessing = self.guessing.lock().unwrap_or_else(PoisonError::into_inner);
            guessing.insert(from, Instant::now() + wait);
        }
    }

    /// Forgets what makes no difference any more.
    pub(super) fn sweep(&self) {
        for limiter in [&self.tokens.0, &self.compat.0] {
            limiter.retain_recent();
        }
        self.failures.retain_recent();
        let now = Instant::now();
        let mut guessing = self.guessing.lock().unwrap_or_else(PoisonError::into_inner);
        guessing.retain(|_, until| *until > now);
    }
}

/// Whether a path belongs to the older interface, which has a limit of its own.
fn is_compat(path: &str) -> bool {
    matches!(path, "/" | "/health") || path.starts_with("/claude-code/")
}

fn limiter<K: Hash + Eq + Clone>(rate: Rate) -> Limiter<K> {
    let burst = NonZeroU32::new(rate.requests).unwrap_or(NonZeroU32::MIN);
    let each = (rate.window / burst.get()).max(Duration::from_nanos(1));
    let quota = Quota::with_period(each).unwrap_or_else(|| Quota::per_second(burst));
    RateLimiter::hashmap_with_clock(quota.allow_burst(burst), MonotonicClock).with_middleware()
}

/// Whom an address stands for: of IPv6, a customer has a whole network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
        address @ IpAddr::V4(_) => address,
    }
}
