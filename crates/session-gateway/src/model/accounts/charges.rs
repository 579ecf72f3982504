//! What a request used that is over, on its way to the ledger.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use session_core::budget::Spending;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Sleep;

use super::account::{Account, LEDGER_PATIENCE, Reservation};
use super::budget::most;
use super::model_name::ModelName;
use crate::error::Chain;
use crate::model::refusal::Refusal;
use crate::model::usage::Consumption;

/// How long the end of an answer waits for its charge. The charge goes on.
const CHARGE_PATIENCE: Duration = Duration::from_secs(1);
/// How long a dismissed session's charges are waited for.
const DISMISSAL_PATIENCE: Duration = Duration::from_secs(5);

/// What could not be charged.
pub(super) struct Owed {
    spending: Spending,
    /// What was reserved for it, and stays so, so that budgets know of it.
    reserved: Spending,
}
impl Account {
    /// What a request used that is over. `names` are the names of its model, the most reliable first.
    pub(crate) fn price(&self, names: &[Option<&ModelName>], used: &Consumption, took: Duration) -> Spending {
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
            fail::fail_point!("gateway.model.charge");
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
    pub(super) async fn make_up(self: &Arc<Self>) -> Result<(), Refusal> {
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
