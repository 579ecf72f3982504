//! One session's account, and what the accounts of all sessions share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use session_core::budget::{Budget, BudgetLimit, Spending};
use session_core::gateway::{DoorEvent, Ledger};
use session_core::id::SessionId;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::budget::{Budgets, tighter, without};
use super::charges::Owed;
use super::prices::PriceTable;
use crate::error::Chain;

/// How long a request waits for the ledger before it is refused.
pub(super) const LEDGER_PATIENCE: Duration = Duration::from_secs(5);

/// Where a session's account is kept, and how much it may use.
#[derive(Clone)]
pub struct Terms {
    /// The session's own budget, beside the proxy's: of each limit the tighter one counts.
    pub budget: Budget,
    /// Where its account is kept.
    pub ledger: Arc<dyn Ledger>,
}

/// What the accounts of all sessions share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Accounts(Arc<House>);

pub(super) struct House {
    pub(super) prices: PriceTable,
    session_budget: Budget,
    daily_budget: Budget,
    /// How long a request waits until those under way have left room in a budget.
    pub(super) max_wait: Duration,
    under_way: Mutex<UnderWay>,
    /// A reservation ended.
    pub(super) ended: Notify,
}

/// The estimates of all requests under way.
#[derive(Default)]
pub(super) struct UnderWay {
    pub(super) reserved: Spending,
    /// How many ended so far. What the ledger said before one ended does not know of it.
    pub(super) ended: u64,
}

impl Accounts {
    pub(crate) fn new(
        prices: PriceTable,
        session_budget: Budget,
        daily_budget: Budget,
        max_wait: Duration,
    ) -> Self {
        Self(Arc::new(House {
            prices,
            session_budget,
            daily_budget,
            max_wait,
            under_way: Mutex::default(),
            ended: Notify::new(),
        }))
    }

    /// An account for a session that has none.
    pub(crate) fn open(&self, session: SessionId, terms: Terms) -> Arc<Account> {
        Arc::new(Account {
            session,
            house: Arc::clone(&self.0),
            terms: RwLock::new(terms),
            own: Mutex::default(),
            settling: tokio::sync::Mutex::default(),
            work: TaskTracker::new(),
        })
    }
}

/// One session's account.
pub(crate) struct Account {
    pub(super) session: SessionId,
    pub(super) house: Arc<House>,
    terms: RwLock<Terms>,
    own: Mutex<Own>,
    /// Held by whoever makes up for a charge that failed.
    pub(super) settling: tokio::sync::Mutex<()>,
    /// Charges and events on their way. A charge keeps its request's place, and events are kept down before they get
    /// here, so there are never many.
    pub(super) work: TaskTracker,
}

#[derive(Default)]
pub(super) struct Own {
    /// The estimates of the session's requests under way.
    pub(super) reserved: Spending,
    /// The greatest request so far: the next one is likely to be as great.
    pub(super) largest: Spending,
    /// What could not be charged.
    pub(super) owed: Option<Owed>,
    /// The limits that were told.
    pub(super) told: Vec<(BudgetLimit, bool)>,
}

/// Holds a request's estimate against budgets until it is dropped.
pub(crate) struct Reservation {
    account: Arc<Account>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) amount: Spending,
    /// Keeps a dismissal waiting.
    _alive: TaskTrackerToken,
}

impl Account {
    /// New terms, from the next request on.
    pub(crate) fn agree(&self, terms: Terms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn budgets(&self, terms: &Terms) -> Budgets {
        Budgets {
            session: tighter(&terms.budget, &self.house.session_budget),
            day: self.house.daily_budget,
        }
    }

    /// Records an event with the ledger that the session has now.
    pub(crate) fn record(self: &Arc<Self>, event: DoorEvent, runtime: &Handle) {
        self.tell(event, self.terms().ledger, runtime);
    }

    /// Nobody waits for an event; one that is lost is in the log.
    pub(super) fn tell(self: &Arc<Self>, event: DoorEvent, ledger: Arc<dyn Ledger>, runtime: &Handle) {
        let session = self.session;
        let told = async move {
            if let Err(error) = ledger.record(event).await {
                tracing::warn!(%session, error = %Chain(&error), "an event of the model door was not recorded");
            }
        };
        drop(self.work.spawn_on(told, runtime));
    }

    /// Holds this much until it is dropped.
    pub(super) fn hold(
        self: &Arc<Self>,
        own: &mut Own,
        all: &mut UnderWay,
        amount: Spending,
        terms: &Terms,
    ) -> Reservation {
        own.reserved = own.reserved.plus(&amount);
        all.reserved = all.reserved.plus(&amount);
        Reservation {
            account: Arc::clone(self),
            ledger: Arc::clone(&terms.ledger),
            amount,
            _alive: self.work.token(),
        }
    }

    /// Gives back what was reserved, and wakes whoever waits for it.
    pub(super) fn release(&self, amount: &Spending) {
        let (mut own, mut all) = (self.own(), self.house.under_way());
        own.reserved = without(&own.reserved, amount);
        all.reserved = without(&all.reserved, amount);
        all.ended += 1;
        drop((own, all));
        self.house.ended.notify_waiters();
    }
}

impl House {
    pub(super) fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.release(&self.amount);
    }
}
