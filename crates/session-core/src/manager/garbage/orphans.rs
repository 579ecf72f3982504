//! Containers and storage of ours that no record wants.
//!
//! The engine is listed before the records are read, and records are written before anything is made for them: so what has
//! no record has none any more, however young it is. Only a store that was restored from a backup forgets sessions that it
//! once knew: what was made after that backup is left to people.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{Finding, Removal};
use crate::error::Result;
use crate::garbage::{GarbageKind, GarbageReport};
use crate::id::{ContainerName, SessionId};
use crate::label::Signer;
use crate::manager::SessionManager;
use crate::runtime::{ContainerState, OwnedResource};
use crate::store::{Listing, Standing};

/// The session of ours to which something on the engine belongs beyond doubt: signed for it, and under its own name. Labels
/// that were copied to another name prove nothing about what bears it.
pub(in crate::manager) fn belongs_to(signer: &Signer, resource: &OwnedResource) -> Option<SessionId> {
    let session = signer.verify(&resource.labels)?;
    let named = ContainerName::of(&session) == resource.name && !resource.renamed;
    named.then_some(session)
}

impl SessionManager {
    /// Removes what belongs to no session. Answers with the sessions of which something stays all the same.
    pub(in crate::manager) async fn sweep_orphans(
        &self,
        listed: &[OwnedResource],
        report: &mut GarbageReport,
    ) -> Result<HashSet<SessionId>> {
        let foundation = &self.inner.foundation;
        let records = foundation.store.listing().await?;
        let restored_from = foundation.store.restored_from().await?;
        let mut found = Vec::new();
        for resource in listed {
            let Some(session) = belongs_to(&foundation.signer, resource) else {
                continue;
            };
            if let Some(reason) = self.unwanted(&records, &session).await? {
                found.push(judge(resource, reason, restored_from));
            }
        }
        let before = report.left.len();
        self.sweep(found, report).await;
        let left = report.left.get(before..).unwrap_or_default();
        Ok(left
            .iter()
            .filter_map(|left| ContainerName::session(&left.name))
            .collect())
    }

    /// Why nothing of a session is wanted any more; `None` when it is, or when nobody can tell.
    pub(super) async fn unwanted(&self, records: &Listing, session: &SessionId) -> Result<Option<Unwanted>> {
        if records.get(session).is_some() {
            return Ok(None);
        }
        // Only those that live are in the list; of one that has ended, or cannot be read, the store has more to say.
        Ok(match self.inner.foundation.store.standing(session).await? {
            Standing::Absent => Some(Unwanted::NoRecord),
            standing if standing.may_have_container() => None,
            _ => Some(Unwanted::Ended),
        })
    }
}

/// Why something is unwanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwanted {
    NoRecord,
    Ended,
}

impl Unwanted {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoRecord => "its session has no record",
            Self::Ended => "its session has ended",
        }
    }
}

fn judge(resource: &OwnedResource, reason: Unwanted, restored_from: Option<Timestamp>) -> Finding {
    let kind = match resource.state {
        ContainerState::Absent => GarbageKind::Storage,
        _ => GarbageKind::Container,
    };
    let forgotten = reason == Unwanted::NoRecord
        && restored_from.is_some_and(|backup| resource.created_at.is_none_or(|made| made > backup));
    if forgotten {
        let reason = "it may have been made after the backup from which the records were restored; \
                      look at it, and remove it by hand";
        return Finding::new(kind, resource.name.as_str(), reason, Removal::None);
    }
    let removal = Removal::Container(resource.name.clone());
    Finding::new(kind, resource.name.as_str(), reason.as_str(), removal)
}
