//! A ledger in memory: keeps what a gateway charges and records, and fails or hesitates when a test says so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use session_core::budget::{Spending, Spent};
use session_core::egress::EgressDecision;
use session_core::error::{Error, ErrorKind, Result};
use session_core::gateway::{DoorEvent, Ledger};
use tokio::sync::watch;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One session's ledger. Clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryLedger {
    own: Arc<watch::Sender<Own>>,
    today: Arc<Mutex<Spending>>,
    faults: Arc<watch::Sender<Faults>>,
}

/// What one session's ledger holds.
#[derive(Clone, Default)]
struct Own {
    charges: Vec<Spending>,
    events: Vec<DoorEvent>,
    decisions: Vec<EgressDecision>,
    asked: usize,
}

#[derive(Clone, Copy, Default)]
struct Faults {
    reading: bool,
    writing: bool,
    held: bool,
    answers_held: bool,
}

impl MemoryLedger {
    /// The ledger of another session on the same day.
    #[must_use]
    pub fn neighbour(&self) -> Self {
        Self {
            own: Arc::default(),
            today: Arc::clone(&self.today),
            faults: Arc::clone(&self.faults),
        }
    }

    /// What was charged, in order.
    pub fn charges(&self) -> Vec<Spending> {
        self.own.borrow().charges.clone()
    }

    /// What was recorded, in order.
    pub fn events(&self) -> Vec<DoorEvent> {
        self.own.borrow().events.clone()
    }

    /// How often it was asked what was spent.
    pub fn asked(&self) -> usize {
        self.own.borrow().asked
    }

    /// All that was charged to the session.
    pub fn total(&self) -> Spending {
        sum(&self.own.borrow().charges)
    }

    /// Waits until there are that many charges, and returns them.
    pub async fn wait_for_charges(&self, count: usize) -> Vec<Spending> {
        self.wait(|own| own.charges.len() >= count).await.charges
    }

    /// Waits until there are that many events, and returns them.
    pub async fn wait_for_events(&self, count: usize) -> Vec<DoorEvent> {
        self.wait(|own| own.events.len() >= count).await.events
    }

    /// Waits for a while; what there is then is enough for a test to fail on.
    async fn wait(&self, enough: impl FnMut(&Own) -> bool) -> Own {
        let mut own = self.own.subscribe();
        drop(tokio::time::timeout(PATIENCE, own.wait_for(enough)).await);
        self.own.borrow().clone()
    }

    /// What people decided about hosts, from now on; newest first.
    pub fn decide(&self, decisions: Vec<EgressDecision>) {
        self.own.send_modify(|own| own.decisions = decisions);
    }

    /// Makes reading fail, and writing. Of all neighbours.
    pub fn fail(&self, reading: bool, writing: bool) {
        self.faults.send_modify(|faults| {
            faults.reading = reading;
            faults.writing = writing;
        });
    }

    /// Holds charges back until they are let go. Of all neighbours.
    pub fn hold_charges(&self, held: bool) {
        self.faults.send_modify(|faults| faults.held = held);
    }

    /// Holds answers back that were found already, until they are let go: they are old by then. Of all neighbours.
    pub fn hold_answers(&self, held: bool) {
        self.faults.send_modify(|faults| faults.answers_held = held);
    }

    /// Waits until it was asked that often.
    pub async fn wait_for_questions(&self, count: usize) {
        self.wait(|own| own.asked >= count).await;
    }

    fn today(&self) -> MutexGuard<'_, Spending> {
        self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sum(charges: &[Spending]) -> Spending {
    charges
        .iter()
        .fold(Spending::default(), |sum, charge| sum.plus(charge))
}

fn failure(operation: &'static str) -> Error {
    Error::new(ErrorKind::StoreFailed, operation, "the test wants it so")
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn spent(&self) -> Result<Spent> {
        self.own.send_modify(|own| own.asked += 1);
        if self.faults.borrow().reading {
            return Err(failure("read the accounts"));
        }
        let today = *self.today();
        let spent = Spent {
            session: self.total(),
            today,
        };
        let mut faults = self.faults.subscribe();
        // The sender lives in `self`, so this ends when it is let go.
        drop(faults.wait_for(|faults| !faults.answers_held).await);
        Ok(spent)
    }

    async fn charge(&self, spending: Spending) -> Result<()> {
        let mut faults = self.faults.subscribe();
        // The sender lives in `self`.
        let writing = match faults.wait_for(|faults| !faults.held).await {
            Ok(faults) => faults.writing,
            Err(_) => true,
        };
        if writing {
            return Err(failure("charge a request"));
        }
        let mut today = self.today();
        *today = today.plus(&spending);
        self.own.send_modify(|own| own.charges.push(spending));
        Ok(())
    }

    async fn decisions(&self) -> Result<Vec<EgressDecision>> {
        if self.faults.borrow().reading {
            return Err(failure("read the decisions"));
        }
        Ok(self.own.borrow().decisions.clone())
    }

    async fn record(&self, event: DoorEvent) -> Result<()> {
        if self.faults.borrow().writing {
            return Err(failure("record an event"));
        }
        self.own.send_modify(|own| own.events.push(event));
        Ok(())
    }
}
