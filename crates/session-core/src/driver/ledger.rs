//! A session's accounts and decisions, for the gateway: kept in the store, so that every process sees them.

use async_trait::async_trait;

use crate::budget::{Spending, Spent};
use crate::egress::{DenialReason, EgressDecision};
use crate::error::Result;
use crate::event::EventKind;
use crate::gateway::{DoorEvent, Ledger};
use crate::id::SessionId;
use crate::store::Store;

/// The ledger of one session.
pub(super) struct StoreLedger {
    store: Store,
    session: SessionId,
}

impl StoreLedger {
    pub(super) fn new(store: Store, session: SessionId) -> Self {
        Self { store, session }
    }
}

#[async_trait]
impl Ledger for StoreLedger {
    async fn spent(&self) -> Result<Spent> {
        self.store.spent(Some(&self.session)).await
    }

    async fn charge(&self, spending: Spending) -> Result<()> {
        self.store.charge(&self.session, spending).await
    }

    async fn decisions(&self) -> Result<Vec<EgressDecision>> {
        self.store.egress_decisions(Some(&self.session)).await
    }

    async fn record(&self, event: DoorEvent) -> Result<()> {
        let wanted = wanted(&event);
        self.store
            .record_at_door(&self.session, kind(event), wanted)
            .await
    }
}

/// The host about which a person can decide.
fn wanted(event: &DoorEvent) -> Option<(String, u16)> {
    match event {
        DoorEvent::EgressDenied {
            host,
            port,
            reason: DenialReason::NotAllowed,
        } => Some((host.clone(), *port)),
        _ => None,
    }
}

fn kind(event: DoorEvent) -> EventKind {
    match event {
        DoorEvent::EgressAllowed { host, port, rule } => EventKind::EgressAllowed { host, port, rule },
        DoorEvent::EgressDenied { host, port, reason } => EventKind::EgressDenied { host, port, reason },
        DoorEvent::BudgetSpent { limit, today } => EventKind::BudgetSpent { limit, today },
        DoorEvent::ModelFailing { failure } => EventKind::ModelFailing { failure },
        DoorEvent::ProviderChanged { to } => EventKind::ProviderChanged { to },
        DoorEvent::McpServer { status } => EventKind::McpServer { status },
    }
}
