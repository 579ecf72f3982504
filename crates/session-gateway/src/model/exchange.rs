//! One request from the moment it may go out to the moment it is charged.
//!
//! ```text
//!  open ──▶ begin ──▶ answered | broke ──▶ heard … ──▶ close ──▶ charged
//!   │         │                                          ▲
//!   refused   └──────── dropped: the agent hung up ──────┘
//! ```
//!
//! It is a value that goes along with the request: whatever drops it, at whatever point, the request is charged once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use session_core::gateway::ModelFailure;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::accounts::{Charged, ModelName, Reservation};
use super::activity::{self, Activity};
use super::queue::{FairQueue, Place};
use super::refusal::Refusal;
use super::session::Session;
use super::usage::{Asked, Consumption, Heard, RequestTap, Tokens};

/// Bytes of text for a token, for what a provider did not get to count. Few, so that nobody gains by hanging up.
const BYTES_PER_TOKEN: u64 = 3;

/// What is known of a request before it goes out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlook {
    /// The length of its body, if it says so.
    pub(crate) length: Option<u64>,
    /// The model that its path names.
    pub(crate) model: Option<ModelName>,
    /// Whether its answer costs tokens.
    pub(crate) generates: bool,
}

/// One request that was sent on: keeps the account up to date, and the request's place until it is charged.
pub(crate) struct Exchange {
    session: Arc<Session>,
    outlook: Outlook,
    asked: Arc<Mutex<Asked>>,
    answering: Option<ModelName>,
    used: Consumption,
    /// Text that came since the provider last said how much it was, in bytes.
    uncounted: u64,
    /// Whether the provider answered, or failed to.
    settled: bool,
    failed: bool,
    started: Instant,
    /// The place at the provider.
    turn: Option<Place>,
    /// What is given to the charge; `None` once there is one.
    open: Option<Open>,
}

struct Open {
    reservation: Reservation,
    place: OwnedSemaphorePermit,
    runtime: Handle,
}

/// A request that waits here; counted while it does.
struct Queued<'a>(&'a Activity);

impl<'a> Queued<'a> {
    fn new(activity: &'a Activity) -> Self {
        activity.queue();
        Self(activity)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.unqueue();
    }
}

impl Exchange {
    /// Lets a request out: its session has paid, has something left, and it is its turn. Dropping the future leaves
    /// every line.
    pub(crate) async fn open(
        session: &Arc<Session>,
        place: OwnedSemaphorePermit,
        outlook: Outlook,
        line: &FairQueue,
    ) -> Result<Self, Refusal> {
        let queued = Queued::new(&session.activity);
        fail::fail_point!("gateway.model.reserve");
        let reservation = session.account.reserve(outlook.length).await?;
        let turn = line.enter(session.id).await?;
        if turn.waited {
            session.account.look_again().await?;
        }
        drop(queued);
        session.count(|usage| {
            usage.requests += 1;
            usage.in_flight += 1;
        });
        session.activity.begin();
        Ok(Self {
            session: Arc::clone(session),
            outlook,
            asked: Arc::default(),
            answering: None,
            used: Consumption::default(),
            uncounted: 0,
            settled: false,
            failed: false,
            started: Instant::now(),
            turn: Some(turn),
            open: Some(Open {
                reservation,
                place,
                runtime: Handle::current(),
            }),
        })
    }

    /// Takes a place at another provider instead of the one that it has.
    pub(crate) async fn change_line(&mut self, line: &FairQueue) -> Result<(), Refusal> {
        self.turn = None;
        let _queued = Queued::new(&self.session.activity);
        self.turn = Some(line.enter(self.session.id).await?);
        Ok(())
    }

    /// An ear for the request's body.
    pub(crate) fn request_tap(&self) -> RequestTap {
        RequestTap::new(Arc::clone(&self.asked), Arc::clone(&self.session.activity))
    }

    /// The provider answers.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.settled = true;
        self.session.activity.moved();
        if status.is_client_error() || status.is_server_error() {
            self.count_failure();
        }
        if let Some(how) = activity::failure_of_status(status) {
            self.provider_failed(how);
        }
    }

    /// No answer came that can be passed on.
    pub(crate) fn broke(&mut self, refusal: Refusal) {
        self.settled = true;
        self.count_failure();
        if let Some(how) = activity::failure_of_refusal(refusal) {
            self.provider_failed(how);
        }
    }

    /// The answer broke off.
    pub(crate) fn broke_off(&mut self, how: ModelFailure) {
        self.count_failure();
        self.provider_failed(how);
    }

    /// The answer has said this much so far.
    pub(crate) fn heard(&mut self, heard: &Heard) {
        self.session.activity.moved();
        self.uncounted = heard.uncounted;
        if self.answering.is_none() {
            self.answering.clone_from(&heard.model);
        }
        if heard.used != self.used {
            let more = heard.used.tokens.since(self.used.tokens);
            self.used = heard.used;
            self.session.count(|usage| usage.add(more));
        }
        if let Some(how) = heard.failure
            && !self.failed
        {
            self.broke_off(how);
        }
    }

    /// The request is over. Charges it, the first time; the charge can be waited for.
    pub(crate) fn close(&mut self) -> Option<Charged> {
        let Open {
            reservation,
            place,
            runtime,
        } = self.open.take()?;
        self.turn = None;
        if self.settled && !self.failed {
            self.session.activity.succeeded();
        }
        self.session.activity.end();
        self.session
            .count(|usage| usage.in_flight = usage.in_flight.saturating_sub(1));
        let spending = self.spending();
        Some(
            self.session
                .account
                .charge(spending, reservation, place, &runtime),
        )
    }

    fn spending(&self) -> session_core::budget::Spending {
        let asked = self.asked();
        let mut used = self.used;
        used.tokens = self.with_uncounted(used.tokens, asked.bytes);
        used.fast |= asked.fast;
        used.us_only |= asked.us_only;
        let names = [
            self.answering.as_ref(),
            self.outlook.model.as_ref(),
            asked.model.as_ref(),
        ];
        let took: Duration = self.started.elapsed();
        self.session.account.price(&names, &used, took)
    }

    /// The tokens with an estimate of what the provider did not get to count: an agent that hangs up before it does must
    /// not work for nothing.
    fn with_uncounted(&self, mut tokens: Tokens, asked: u64) -> Tokens {
        if !self.outlook.generates {
            return tokens;
        }
        // Also when an answer has begun: its account may stand at its end.
        if !self.failed && tokens.prompt() == 0 {
            tokens.input = asked / BYTES_PER_TOKEN;
        }
        tokens.output = tokens.output.saturating_add(self.uncounted / BYTES_PER_TOKEN);
        tokens
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_failure(&mut self) {
        if !std::mem::replace(&mut self.failed, true) {
            self.session.count(|usage| usage.failed_requests += 1);
        }
    }

    fn provider_failed(&mut self, how: ModelFailure) {
        self.failed = true;
        if let Some(open) = &self.open {
            self.session.provider_failed(how, &open.runtime);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Nobody waits for the charge; it is made all the same.
        drop(self.close());
    }
}
