//! Whether a session's request may go out: what it owes, what its budgets leave, and what is under way beside it.

use std::pin::pin;
use std::sync::Arc;

use session_core::budget::{Spending, Spent};
use session_core::gateway::DoorEvent;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::account::{Account, LEDGER_PATIENCE, Reservation, Terms};
use super::budget::{Budgets, SpentLimit, Verdict, most};
use crate::error::Chain;
use crate::model::refusal::Refusal;
use crate::model::usage::{Consumption, Tokens};

/// Bytes of a request for a token, for an estimate before anything is known.
const BYTES_PER_TOKEN: u64 = 4;

/// What trying came to.
enum Tried {
    Reserved(Reservation),
    /// A request ended since the ledger was asked: ask again.
    Stale,
    Wait,
    Spent(SpentLimit),
}
impl Account {
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
}
