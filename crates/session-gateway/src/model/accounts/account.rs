//! One session's account, and what the accounts of all sessions share.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use session_core::budget::{Budget, BudgetLimit, Spending, Spent};
use session_core::gateway::{DoorEvent, Ledger};
use session_core::id::SessionId;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::budget::{Budgets, SpentLimit, Verdict, most, tighter, without};
use super::prices::PriceTable;
use crate::error::Chain;
use crate::model::refusal::Refusal;
use crate::model::usage::{Consumption, Tokens};

/// How long a request waits for the ledger before it is refused.
const LEDGER_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of an answer waits for its charge. The charge goes on.
const CHARGE_PATIENCE: Duration = Duration::from_secs(1);
/// How long a dismissed session's charges are waited for.
const DISMISSAL_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a request for a token, for an estimate before anything is known.
const BYTES_PER_TOKEN: u64 = 4;

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

struct House {
    prices: PriceTable,
    session_budget: Budget,
    daily_budget: Budget,
    /// How long a request waits until those under way have left room in a budget.
    max_wait: Duration,
    under_way: Mutex<UnderWay>,
    /// A reservation ended.
    ended: Notify,
}

/// The estimates of all requests under way.
#[derive(Default)]
struct UnderWay {
    reserved: Spending,
    /// How many ended so far. What the ledger said before one ended does not know of it.
    ended: u64,
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
    session: SessionId,
    house: Arc<House>,
    terms: RwLock<Terms>,
    own: Mutex<Own>,
    /// Held by whoever makes up for a charge that failed.
    settling: tokio::sync::Mutex<()>,
    /// Charges and events on their way. A charge keeps its request's place, and events are kept down before they get
    /// here, so there are never many.
    work: TaskTracker,
}

#[derive(Default)]
struct Own {
    /// The estimates of the session's requests under way.
    reserved: Spending,
    /// The greatest request so far: the next one is likely to be as great.
    largest: Spending,
    /// What could not be charged.
    owed: Option<Owed>,
    /// The limits that were told.
    told: Vec<(BudgetLimit, bool)>,
}

/// What could not be charged.
struct Owed {
    spending: Spending,
    /// What was reserved for it, and stays so, so that budgets know of it.
    reserved: Spending,
}

/// Holds a request's estimate against budgets until it is dropped.
pub(crate) struct Reservation {
    account: Arc<Account>,
    ledger: Arc<dyn Ledger>,
    amount: Spending,
    /// Keeps a dismissal waiting.
    _alive: TaskTrackerToken,
}

/// What trying came to.
enum Tried {
    Reserved(Reservation),
    /// A request ended since the ledger was asked: ask again.
    Stale,
    Wait,
    Spent(SpentLimit),
}

impl Account {
    /// New terms, from the next request on.
    pub(crate) fn agree(&self, terms: Terms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    fn terms(&self) -> Terms {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budgets(&self, terms: &Terms) -> Budgets {
        Budgets {
            session: tighter(&terms.budget, &self.house.session_budget),
            day: self.house.daily_budget,
        }
    }

    /// Lets a request of `length` bytes in, as far as budgets and the ledger go. Dropping the future takes nothing.
    pub(crate) async fn reserve(self: &Arc<Self>, length: Option<u64>) -> Result<Reservation, Refusal> {
        self.make_up().await?;
        let terms = self.terms();
        let budgets = self.budgets(&terms);
        let amount = self.estimate(length);
        if !budgets.any() {
            let (mut own, mut all) = (self.own(), self.house.under_way());
            return Ok(self.hold(&mut own, &mut all, amount, &terms));
        }
        let deadline = Instant::now() + self.house.max_wait;
        loop {
            let mut ended = pin!(self.house.ended.notified());
            ended.as_mut().enable();
            let version = self.house.under_way().ended;
            let spent = self.spent(&terms).await?;
            match self.try_reserve(&budgets, &spent, version, amount, &terms) {
                Tried::Reserved(reservation) => return Ok(reservation),
                // Another request has ended meanwhile, so the sessions together got on.
                Tried::Stale => {}
                Tried::Wait => tokio::time::timeout_at(deadline, ended)
                    .await
                    .map_err(|_| Refusal::QueueTimeout)?,
                Tried::Spent(limit) => return Err(self.refuse(limit, &terms)),
            }
        }
    }

    /// Looks again, for a request that has waited since it was let in.
    pub(crate) async fn look_again(self: &Arc<Self>) -> Result<(), Refusal> {
        let terms = self.terms();
        let budgets = self.budgets(&terms);
        if !budgets.any() {
            return Ok(());
        }
        match budgets.reached(&self.spent(&terms).await?) {
            Some(limit) => Err(self.refuse(limit, &terms)),
            None => Ok(()),
        }
    }

    fn try_reserve(
        self: &Arc<Self>,
        budgets: &Budgets,
        spent: &Spent,
        version: u64,
        amount: Spending,
        terms: &Terms,
    ) -> Tried {
        let (mut own, mut all) = (self.own(), self.house.under_way());
        if all.ended != version {
            return Tried::Stale;
        }
        match budgets.judge(spent, &own.reserved, &all.reserved) {
            Verdict::Go => {
                // What is let in again is told again when it is spent again: another day, or a higher limit.
                own.told.clear();
                Tried::Reserved(self.hold(&mut own, &mut all, amount, terms))
            }
            Verdict::Wait => Tried::Wait,
            Verdict::Spent(limit) => Tried::Spent(limit),
        }
    }

    fn hold(
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

    /// What a request will use, as far as that can be told before it goes out: at least its own length in tokens at the
    /// dearest price, and as much as the greatest of the session so far.
    fn estimate(&self, length: Option<u64>) -> Spending {
        let input = length.unwrap_or_default() / BYTES_PER_TOKEN;
        let tokens = Tokens {
            input,
            ..Tokens::default()
        };
        let used = Consumption {
            tokens,
            ..Consumption::default()
        };
        let least = Spending {
            requests: 1,
            input_tokens: input,
            cost_microusd: self.house.prices.cost(&[], &used),
            ..Spending::default()
        };
        most(&least, &self.own().largest)
    }

    async fn spent(&self, terms: &Terms) -> Result<Spent, Refusal> {
        match tokio::time::timeout(LEDGER_PATIENCE, terms.ledger.spent()).await {
            Ok(Ok(spent)) => Ok(spent),
            Ok(Err(error)) => {
                tracing::error!(session = %self.session, error = %Chain(&error), "the accounts cannot be read");
                Err(Refusal::AccountsUnavailable)
            }
            Err(_) => {
                tracing::error!(session = %self.session, "the accounts do not answer");
                Err(Refusal::AccountsUnavailable)
            }
        }
    }

    /// Says once for each limit that it is reached.
    fn refuse(self: &Arc<Self>, limit: SpentLimit, terms: &Terms) -> Refusal {
        let which = (limit.limit, limit.today);
        let mut own = self.own();
        let is_news = !own.told.contains(&which);
        if is_news {
            own.told.push(which);
        }
        drop(own);
        if is_news {
            let event = DoorEvent::BudgetSpent {
                limit: limit.limit,
                today: limit.today,
            };
            self.tell(event, Arc::clone(&terms.ledger), &Handle::current());
        }
        Refusal::BudgetSpent(limit)
    }

    /// Records an event with the ledger that the session has now.
    pub(crate) fn record(self: &Arc<Self>, event: DoorEvent, runtime: &Handle) {
        self.tell(event, self.terms().ledger, runtime);
    }

    /// Nobody waits for an event; one that is lost is in the log.
    fn tell(self: &Arc<Self>, event: DoorEvent, ledger: Arc<dyn Ledger>, runtime: &Handle) {
        let session = self.session;
        let told = async move {
            if let Err(error) = ledger.record(event).await {
                tracing::warn!(%session, error = %Chain(&error), "an event of the model door was not recorded");
            }
        };
        drop(self.work.spawn_on(told, runtime));
    }

    /// What a request used that is over. `names` are the names of its model, the most reliable first.
    pub(crate) fn price(
        &self,
        names: &[Option<&super::ModelName>],
        used: &Consumption,
        took: Duration,
    ) -> Spending {
        let tokens = used.tokens;
        Spending {
            requests: 1,
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cache_read_tokens: tokens.cache_read,
            cache_creation_tokens: tokens.cache_creation,
            cost_microusd: self.house.prices.cost(names, used),
            model_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Charges what a request used, once, whoever waits for it. Its place in the session is free when that is done.
    pub(crate) fn charge(
        self: &Arc<Self>,
        spending: Spending,
        reservation: Reservation,
        place: OwnedSemaphorePermit,
        runtime: &Handle,
    ) -> Charged {
        let mut own = self.own();
        own.largest = most(&own.largest, &spending);
        drop(own);
        let (done, charged) = oneshot::channel();
        let account = Arc::clone(self);
        let charge = async move {
            let mut reservation = reservation;
            if let Err(error) = reservation.ledger.charge(spending).await {
                tracing::error!(session = %account.session, error = %Chain(&error), "a model request could not be charged");
                let reserved = std::mem::take(&mut reservation.amount);
                account.owe(Owed { spending, reserved });
            }
            drop(reservation);
            drop(place);
            // Whoever waited may be gone.
            let _gone = done.send(());
        };
        drop(self.work.spawn_on(charge, runtime));
        Charged {
            charged,
            patience: Box::pin(tokio::time::sleep(CHARGE_PATIENCE)),
        }
    }

    fn owe(&self, more: Owed) {
        let mut own = self.own();
        own.owed = Some(match own.owed.take() {
            None => more,
            Some(owed) => Owed {
                spending: owed.spending.plus(&more.spending),
                reserved: owed.reserved.plus(&more.reserved),
            },
        });
    }

    /// Makes up for charges that failed, before anything else goes out.
    async fn make_up(self: &Arc<Self>) -> Result<(), Refusal> {
        if self.own().owed.is_none() {
            return Ok(());
        }
        // Detached: a charge that was begun is not given up because the agent hung up.
        let account = Arc::clone(self);
        let settled = self.work.spawn(async move { account.settle().await });
        match tokio::time::timeout(LEDGER_PATIENCE, settled).await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(Refusal::AccountsUnavailable),
        }
    }

    /// Gives back what was reserved, and wakes whoever waits for it.
    fn release(&self, amount: &Spending) {
        let (mut own, mut all) = (self.own(), self.house.under_way());
        own.reserved = without(&own.reserved, amount);
        all.reserved = without(&all.reserved, amount);
        all.ended += 1;
        drop((own, all));
        self.house.ended.notify_waiters();
    }

    /// Charges what is owed. Whether nothing is owed any more.
    async fn settle(&self) -> bool {
        let _one_at_a_time = self.settling.lock().await;
        let Some(owed) = self.own().owed.take() else {
            return true;
        };
        match self.terms().ledger.charge(owed.spending).await {
            Ok(()) => {
                self.release(&owed.reserved);
                true
            }
            Err(error) => {
                tracing::error!(session = %self.session, error = %Chain(&error), "what a session owes could not be charged");
                self.owe(owed);
                false
            }
        }
    }

    /// Waits until what is over is charged, for a while.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.work.close();
        let all = async {
            self.work.wait().await;
            self.settle().await
        };
        if !matches!(tokio::time::timeout(DISMISSAL_PATIENCE, all).await, Ok(true)) {
            tracing::error!(session = %self.session, "a dismissed session's account is not complete");
        }
    }
}

impl House {
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.release(&self.amount);
    }
}

/// Waits until a charge is durable, and not for ever.
pub(crate) struct Charged {
    charged: oneshot::Receiver<()>,
    patience: Pin<Box<Sleep>>,
}

impl Future for Charged {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // The sender goes with its task, so an error is an end too.
        if Pin::new(&mut self.charged).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}
