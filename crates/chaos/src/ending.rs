//! What is looked at when a world ends: every history against the model, the daemon's lists against what clients were told, and
//! whatever lies about.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use session_core::api::SessionApi as _;
use session_core::session::{EventQuery, SessionFilter, SessionInfo};
use session_core::state::SessionState;
use tokio::time::{Instant, sleep};

use crate::client::{Finished, KEY_LABEL, Shared};
use crate::daemon::Launcher;
use crate::engine::Engine;
use crate::model;
use crate::trouble::Trouble;

/// Orphans are gone by then.
const ORPHANS: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
/// As many events as one question may be answered with.
const PAGE: usize = 10_000;

pub(crate) async fn judge(shared: &Shared, engine: &Engine, launcher: &Launcher, finished: &[Finished]) {
    let trouble = &shared.trouble;
    if trouble.any() {
        return;
    }
    let ledger = engine.ledger(finished);
    for session in finished {
        for wrong in model::judge(&session.told, &ledger) {
            trouble.tell(format!("session {} ({}): {wrong}", session.session, session.key));
        }
    }
    let more = |counts: &BTreeMap<String, u64>| {
        counts
            .iter()
            .find(|(_, runs)| **runs > 1)
            .map(|(name, _)| name.clone())
    };
    for twice in [more(&ledger.prompts), more(&ledger.commands)]
        .into_iter()
        .flatten()
    {
        trouble.tell(format!("{twice:?} ran more than once"));
    }
    let overlaps = engine.overlaps();
    if overlaps > 0 {
        trouble.tell(format!("{overlaps} prompts came while a turn ran"));
    }
    match shared
        .api
        .list(SessionFilter {
            all: true,
            ..SessionFilter::default()
        })
        .await
    {
        Ok(listed) => {
            for wrong in lists(&listed, finished) {
                trouble.tell(wrong);
            }
        }
        Err(error) => trouble.tell(format!("the sessions cannot be listed: {error}")),
    }
    stored(shared, finished).await;
    left_over(trouble, engine, launcher).await;
}

/// Every acknowledged session is there once and has ended, and no key has two that live.
fn lists(listed: &[SessionInfo], finished: &[Finished]) -> Vec<String> {
    let mut by_key: BTreeMap<&str, Vec<&SessionInfo>> = BTreeMap::new();
    for info in listed {
        let key = info.labels.get(KEY_LABEL).map_or("", String::as_str);
        by_key.entry(key).or_default().push(info);
    }
    let mut wrong = Vec::new();
    for (key, infos) in &by_key {
        if infos.len() > 1 {
            wrong.push(format!("the key {key} has {} sessions", infos.len()));
        }
        for info in infos {
            if !matches!(info.state, SessionState::Destroyed | SessionState::Failed { .. }) {
                wrong.push(format!("session {} ({key}) is {:?}", info.id, info.state));
            }
        }
    }
    for session in finished {
        let found = by_key.get(session.key.as_str()).into_iter().flatten();
        if !found
            .into_iter()
            .any(|info| info.id == session.session && info.state == SessionState::Destroyed)
        {
            wrong.push(format!(
                "session {} ({}) was acknowledged and is lost",
                session.session, session.key
            ));
        }
    }
    wrong
}

/// What is stored is what was told.
async fn stored(shared: &Shared, finished: &[Finished]) {
    let query = EventQuery {
        limit: PAGE,
        ..EventQuery::default()
    };
    for session in finished {
        match shared.api.event_page(&session.session, query).await {
            Ok(events) if events == session.told.events => {}
            Ok(events) => shared.trouble.tell(format!(
                "session {}: {} events are stored and {} were told",
                session.session,
                events.len(),
                session.told.events.len()
            )),
            Err(error) => shared.trouble.tell(format!(
                "session {}: its events cannot be read: {error}",
                session.session
            )),
        }
    }
}

/// Nothing is left on the engine and in the state directory.
async fn left_over(trouble: &Trouble, engine: &Engine, launcher: &Launcher) {
    let sessions = launcher.state().join("sessions");
    let deadline = Instant::now() + ORPHANS;
    loop {
        let containers = engine.left_over().await;
        let directories: Vec<_> = std::fs::read_dir(&sessions)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        if containers.is_empty() && directories.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            trouble.tell(format!("left over: {containers:?} {directories:?}"));
            return;
        }
        sleep(PAUSE).await;
    }
}

/// No process of this world is left: every one has its directory in its environment.
pub(crate) fn look_for_processes(trouble: &Trouble, dir: &Path) {
    let Some(needle) = dir.to_str() else { return };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let numbered = process.file_name().to_string_lossy().parse::<u32>().is_ok();
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if numbered && String::from_utf8_lossy(&environment).contains(needle) {
            trouble.tell(format!(
                "process {} is left over",
                process.file_name().to_string_lossy()
            ));
        }
    }
}
