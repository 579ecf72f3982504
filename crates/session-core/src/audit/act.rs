//! Who acts, for the store: what a caller's own task changes there gets its line in the same transaction.
//!
//! The actor is not a parameter of every method between the door and the store, because nothing between them may decide
//! anything by it. It accompanies the task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{AuditDecision, AuditEntry};
use crate::id::SessionId;

tokio::task_local! {
    static ACT: Act;
}

/// What somebody does.
#[derive(Debug, Clone)]
pub(super) struct Act {
    actor: Arc<str>,
    action: &'static str,
    told: Arc<AtomicBool>,
}

impl Act {
    pub(super) fn new(actor: &Arc<str>, action: &'static str) -> Self {
        Self {
            actor: actor.clone(),
            action,
            told: Arc::default(),
        }
    }

    /// Has everything that `work` changes in its own task done by this act.
    pub(super) async fn cover<T>(&self, work: impl Future<Output = T>) -> T {
        ACT.scope(self.clone(), work).await
    }

    /// Whether the store has a line already that says that it was done.
    pub(super) fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    pub(super) fn entry(&self, session: Option<SessionId>, decision: AuditDecision) -> AuditEntry {
        AuditEntry {
            actor: self.actor.to_string(),
            action: self.action.to_owned(),
            session,
            decision,
            rule: None,
            detail: None,
        }
    }
}

/// The line for a change that the current task makes; `None` when it acts for nobody, or its line is there already.
#[derive(Clone)]
pub(crate) struct Due {
    act: Act,
}

impl Due {
    pub(crate) fn now() -> Option<Self> {
        let act = ACT.try_with(Clone::clone).ok()?;
        (!act.is_told()).then_some(Self { act })
    }

    /// The line: that it was done, to this session.
    pub(crate) fn entry(&self, session: Option<SessionId>, detail: Option<String>) -> AuditEntry {
        AuditEntry {
            detail,
            ..self.act.entry(session, AuditDecision::Done)
        }
    }

    /// The change is durable, and so is its line.
    pub(crate) fn told(&self) {
        self.act.told.store(true, Ordering::Release);
    }
}
