//! Sessions that live for one call, put away even when the server that made them was killed.
//!
//! `spawn_claude_container` always cleans up after itself. A killed server cannot, so such a session bears a label with
//! the time after which nobody can be waiting for it any more, and every server looks for those.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use session_core::session::SessionFilter;

use crate::core::Core;

/// The label with the time, RFC 3339.
pub(crate) const LABEL: &str = "mcp.cofferdam/delete-after";
/// How often is looked.
const PERIOD: Duration = Duration::from_secs(60);

/// The label's value for a session that is not needed `after` from now.
pub(crate) fn deadline(after: Duration) -> String {
    Timestamp::now()
        .saturating_add(after)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// Looks for left-over sessions until the server ends.
pub(crate) async fn reap(core: Arc<Core>) {
    loop {
        if let Err(error) = reap_once(&core).await {
            tracing::debug!(%error, "left-over sessions could not be looked for");
        }
        // Both arms only wait.
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn reap_once(core: &Core) -> session_core::error::Result<()> {
    let now = Timestamp::now();
    for session in core.api.list(SessionFilter::default()).await? {
        let deadline = session
            .labels
            .get(LABEL)
            .and_then(|text| text.parse::<Timestamp>().ok());
        if deadline.is_some_and(|deadline| deadline < now) {
            tracing::info!(session = %session.id, "a session of a call that ended long ago is removed");
            if let Err(error) = core.api.destroy(&session.id).await {
                tracing::warn!(session = %session.id, %error, "it could not be removed");
            }
            core.changes.nudge();
        }
    }
    Ok(())
}
