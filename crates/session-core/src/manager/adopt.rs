//! What a manager that supervises does with sessions that it did not make: all of them are taken up when it starts, and from
//! then on what is recorded is held against what the engine says, whether or not it told of a change.

use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::SessionManager;
use super::programs::is_sidecar;
use super::reconcile::in_time;
use crate::driver::Request;
use crate::error::{ErrorKind, Result};
use crate::id::{ContainerName, SessionId};
use crate::lifetime::OnInterrupt;
use crate::runtime::{ContainerState, OwnedResource};
use crate::session::{SessionFilter, SessionInfo};
use crate::state::SessionState;
use crate::store::SessionRecord;

/// How many sessions are taken up at once: their containers dial at the same time.
const AT_ONCE: usize = 64;
/// How long one of them may keep the others waiting: a link and an agent that cannot be reached take long to say so.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often records are held against the engine. With the time that the engine takes to answer, whatever happens behind our
/// back is known within 5 seconds.
const CONVERGE_EVERY: Duration = Duration::from_secs(2);

/// What became of the sessions that a manager found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Adopted {
    /// So many were taken up.
    pub sessions: usize,
    /// So many could not be now; they are looked at again like any other.
    pub failed: usize,
    /// How long it took.
    pub took: Duration,
}

/// What the engine has under a session's label.
type Found = HashMap<SessionId, (ContainerState, bool)>;

impl SessionManager {
    /// Takes up every session that lives: its link is made, its agent attached, and a turn that ran goes on. Sessions whose
    /// container is gone are told so, and come back if that is their policy.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub async fn adopt(&self) -> Result<Adopted> {
        let started = Instant::now();
        let store = &self.inner.foundation.store;
        let living = SessionFilter::default();
        let (records, found) = tokio::join!(store.sessions(&living), self.engine_has());
        // Without the engine a session whose socket is there can be reached all the same.
        let found = found.ok();
        let records = records?.into_iter().filter(|record| {
            let state = &record.info.state;
            !is_sidecar(&record.info) && !matches!(state, SessionState::Creating | SessionState::Destroying)
        });
        let taking = records.map(|record| self.adopt_one(record, found.as_ref()));
        let outcomes: Vec<bool> = stream::iter(taking).buffer_unordered(AT_ONCE).collect().await;
        let adopted = Adopted {
            sessions: outcomes.iter().filter(|taken| **taken).count(),
            failed: outcomes.iter().filter(|taken| !**taken).count(),
            took: started.elapsed(),
        };
        let Adopted { sessions, failed, .. } = adopted;
        let took_ms = u64::try_from(adopted.took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(sessions, failed, took_ms, "the sessions were taken up");
        Ok(adopted)
    }

    async fn adopt_one(&self, record: SessionRecord, found: Option<&Found>) -> bool {
        let id = record.info.id;
        let driver = self.driver(&record);
        let outcome = if found.is_none_or(|found| agree(&record.info, found)) {
            in_time(
                PATIENCE,
                driver.ask(|answer| Request::Adopt(Box::new(record), answer)),
            )
            .await
        } else {
            in_time(PATIENCE, driver.ask(Request::Refresh)).await
        };
        if let Err(error) = &outcome {
            tracing::warn!(session = %id, %error, "the session could not be taken up");
        }
        outcome.is_ok()
    }

    /// Has every session looked at whose record and container do not agree.
    pub(super) async fn converge(&self) -> Result<()> {
        // In this order: what is made in between is recorded as being made.
        let found = self.engine_has().await?;
        let store = &self.inner.foundation.store;
        for info in store.listing().await?.sessions() {
            if agree(info, &found) || is_sidecar(info) {
                continue;
            }
            let interrupted = matches!(info.state, SessionState::Interrupted { .. });
            if interrupted
                && self
                    .live_driver(&info.id)
                    .is_some_and(|driver| driver.is_coming_back())
            {
                // It knows, and looks when it is tried.
                continue;
            }
            if let Some(record) = store.session(&info.id).await? {
                self.driver(&record).look();
            }
        }
        Ok(())
    }

    async fn engine_has(&self) -> Result<Found> {
        let foundation = &self.inner.foundation;
        let listed = foundation.runtime.list(foundation.signer.owner()).await;
        if listed
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::EngineUnavailable)
        {
            foundation.sight.went_away();
        }
        let mut found = Found::new();
        for OwnedResource {
            name,
            renamed,
            labels,
            state,
            ..
        } in listed?
        {
            let Some(session) = foundation.signer.verify(&labels) else {
                continue;
            };
            // A label that was copied onto another container hides nothing of the one that bears the name.
            if name == ContainerName::of(&session) && (!renamed || !found.contains_key(&session)) {
                found.insert(session, (state, renamed));
            }
        }
        Ok(found)
    }

    /// Takes the sessions up, and holds them against the engine for as long as the manager lives.
    pub(super) async fn keep_in_line(&self) {
        if let Err(error) = self.adopt().await {
            tracing::warn!(%error, "the sessions could not be taken up");
        }
        loop {
            tokio::time::sleep(CONVERGE_EVERY).await;
            if let Err(error) = self.converge().await {
                tracing::debug!(%error, "the sessions could not be held against the engine");
            }
        }
    }
}

/// Whether a record and what the engine has of it need no look.
fn agree(info: &SessionInfo, found: &Found) -> bool {
    let seen = found
        .get(&info.id)
        .filter(|(_, renamed)| !renamed)
        .map(|(state, _)| *state);
    match &info.state {
        SessionState::Ready => seen == Some(ContainerState::Running),
        // Somebody froze it: its turn goes on afterwards.
        SessionState::Busy => matches!(seen, Some(ContainerState::Running | ContainerState::Paused)),
        SessionState::Paused => seen == Some(ContainerState::Paused),
        SessionState::Interrupted { .. } => info.on_interrupt == OnInterrupt::Stop,
        SessionState::Creating
        | SessionState::Failed { .. }
        | SessionState::Destroying
        | SessionState::Destroyed => true,
    }
}
