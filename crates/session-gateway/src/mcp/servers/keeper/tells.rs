//! What others see of the server: its offer, its definition, its status.

use std::sync::Arc;

use mcp_catalog::ServerDefinition;
use session_core::mcp::ServerState;

use super::{Keeper, Running, TAKEN_AWAY};
use crate::mcp::call::FailureCause;
use crate::mcp::servers::hub::Change;
use crate::mcp::servers::instance::{Told, status};
use crate::mcp::servers::offer::Offer;

impl Keeper {
    /// What the server offers is this now.
    pub(super) fn offer(&mut self, offer: Arc<Offer>) {
        let before = self.outlets.offer.borrow().clone();
        if before.as_ref().is_some_and(|before| **before == *offer) {
            return;
        }
        self.outlets.offer.send_replace(Some(Arc::clone(&offer)));
        // Who listens before it was known wants to know that it is.
        let before = before.unwrap_or_default();
        let (tools, prompts, resources) = offer.differs(&before);
        for (changed, change) in [
            (tools, Change::ToolsChanged),
            (prompts, Change::PromptsChanged),
            (resources, Change::ResourcesChanged),
        ] {
            if changed {
                self.hub.tell(&change);
            }
        }
    }

    /// Looks at what is known with definition and approvals as they are now.
    pub(super) async fn judge(&mut self) {
        if let Some(offer) = self.known().await {
            self.offer(offer);
        }
    }

    async fn known(&mut self) -> Option<Arc<Offer>> {
        let (shelf, definition) = (Arc::clone(&self.shelf), Arc::clone(&self.definition));
        let known = tokio::task::spawn_blocking(move || shelf.offer(&definition)).await;
        known.ok().flatten().map(Arc::new)
    }

    /// The operator declares it so now, or not at all.
    pub(super) async fn define(&mut self, definition: Option<Arc<ServerDefinition>>) {
        let Some(definition) = definition else {
            self.stop(FailureCause::Unavailable, TAKEN_AWAY).await;
            return self.taken_away();
        };
        let back = self.life.state() == ServerState::Removed;
        if !back && *definition == *self.definition {
            return;
        }
        // What was known of its failures is of another.
        self.life.declared();
        self.failure = None;
        let elsewhere = definition.transport != self.definition.transport;
        self.definition = Arc::clone(&definition);
        self.outlets.definition.send_replace(definition);
        if elsewhere || back {
            self.outdated = true;
            if matches!(self.running, Running::Nothing) {
                self.forget_if_outdated().await;
            }
            return;
        }
        if !self.outdated {
            self.shelf.redefined(&self.definition);
        }
        self.judge().await;
    }

    /// What is known is of a server that is declared no more: it is asked when somebody wants to know.
    pub(super) async fn forget_if_outdated(&mut self) {
        if !std::mem::take(&mut self.outdated) {
            return;
        }
        if let Some(offer) = self.known().await {
            return self.offer(offer);
        }
        self.outlets.offer.send_replace(None);
        for change in [
            Change::ToolsChanged,
            Change::PromptsChanged,
            Change::ResourcesChanged,
        ] {
            self.hub.tell(&change);
        }
    }

    pub(super) fn taken_away(&mut self) {
        self.life.removed();
        self.failure = Some(self.failed(FailureCause::Unavailable, TAKEN_AWAY));
        // Nobody is asked what it has any more.
        self.offer(Arc::default());
    }

    pub(super) fn publish(&self) {
        let offer = self.outlets.offer.borrow().clone();
        let mut status = status(&self.name, offer.as_deref());
        status.state = self.life.state();
        status.failures = self.life.failures();
        let warning = offer.and_then(|offer| offer.warning.clone());
        status.reason = self
            .failure
            .as_ref()
            .map(|failure| failure.detail.clone())
            .or(warning);
        let until = self.life.held_off();
        self.outlets.status.send_if_modified(|told| {
            let news = told.status != status || told.until != until;
            *told = Told { status, until };
            news
        });
    }
}
