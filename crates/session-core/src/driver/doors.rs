//! The session at its gateway: what it was admitted to, and who opens its doors.

use std::sync::Arc;

use session_link::{Door, Link};

use super::Driver;
use super::ledger::StoreLedger;
use crate::error::Result;
use crate::gateway::{Admission, ModelApi, SessionGrant};
use crate::link_error::from_link;
use crate::runtime::NetworkMode;
use crate::store::SessionRecord;

impl Driver {
    /// Lets the session in at the gateway, unless that was done.
    pub(super) async fn admit(&mut self, record: &SessionRecord) -> Result<&Admission> {
        let admission = match self.admission.take() {
            Some(admission) => admission,
            None => {
                let grant = self.grant(record);
                self.foundation.gateway.admit(&self.id, grant).await?
            }
        };
        Ok(self.admission.insert(admission))
    }

    fn grant(&self, record: &SessionRecord) -> SessionGrant {
        let info = &record.info;
        SessionGrant {
            token: record.token.clone(),
            account: self.account.clone(),
            sealed: info.network == NetworkMode::Sealed,
            allow: info.allow.clone(),
            budget: info.budget,
            ledger: Arc::new(StoreLedger::new(self.foundation.store.clone(), self.id)),
        }
    }

    /// The API of the session's model door, as far as it was admitted.
    pub(super) fn model_api(&self) -> ModelApi {
        self.admission
            .as_ref()
            .map(|admission| admission.model_api.clone())
            .unwrap_or_default()
    }

    /// Opens all doors on the link: for whoever owns the agent.
    pub(super) async fn open_doors(&mut self, link: &Link, record: &SessionRecord) -> Result<()> {
        let admission = self.admit(record).await?;
        let doors = admission.doors.iter().map(|door| Door {
            name: door.name.clone(),
            port: door.port,
        });
        link.open_doors(doors.collect())
            .await
            .map_err(|error| from_link("open the session's doors", error))
    }
}
