//! Cloning into a session that is being made, and why it failed when the wall stopped it.
//!
//! git says of a host that the session may not reach only that a proxy answered 403. The denial itself is in the
//! session's log by then, so the failure is explained from there.

use std::time::Duration;

use futures::StreamExt;

use super::Driver;
use crate::egress::{DenialReason, HostRule};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::store::SessionRecord;
use crate::workspace_tree;

const OPERATION: &str = "clone the repository";
/// git may hear of a denial a moment before it is stored.
const LOG_GRACE: Duration = Duration::from_millis(300);

impl Driver {
    pub(super) async fn clone_workspace(
        &mut self,
        record: &SessionRecord,
        url: &str,
        reference: Option<&str>,
    ) -> Result<()> {
        self.log(EventKind::Progress {
            message: format!("cloning {url}"),
        })
        .await;
        let link = self.live_link()?.clone();
        let ambient = self.ready_for_clone(&link, record).await?;
        let before = self.record().await?.info.last_event;
        let cloned = workspace_tree::clone(&link, url, reference, &ambient).await;
        let Err(error) = cloned else { return Ok(()) };
        match tokio::time::timeout(LOG_GRACE, self.denial(before)).await {
            Ok(Some(denial)) => Err(denial.explain(url).with_source(error)),
            // Nothing was denied in time, or the log cannot be read.
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// The first denial after the event `after`.
    async fn denial(&self, after: u64) -> Option<Denial> {
        let mut events = self.foundation.store.follow(self.id, after);
        while let Some(event) = events.next().await {
            if let EventKind::EgressDenied { host, port, reason } = event.ok()?.kind {
                return Some(Denial { host, port, reason });
            }
        }
        None
    }
}

/// What the egress door denied to git. The host is the session's own text, escaped and cut.
struct Denial {
    host: String,
    port: u16,
    reason: DenialReason,
}

impl Denial {
    fn explain(&self, url: &str) -> Error {
        let Self { host, port, reason } = self;
        let (message, hint) = match reason {
            DenialReason::NotAllowed => (
                "the session may not reach the repository's host",
                format!(
                    "create it anew with this host allowed (`--allow {host}`, or the preset `--allow git`), or approve the \
                     host for all sessions first"
                ),
            ),
            DenialReason::Refused => (
                "a person refused that sessions reach the repository's host",
                format!("approve {host} for all sessions, then create the session anew"),
            ),
            DenialReason::ForbiddenAddress => (
                "the repository's host has an address that no session may reach",
                "clone on this machine and use a copy".to_owned(),
            ),
            _ => (
                "the way out of the session refused git's connection",
                "clone on this machine and use a copy".to_owned(),
            ),
        };
        let error = Error::new(ErrorKind::WorkspaceRefused, OPERATION, message)
            .with_context("url", url)
            .with_context("host", host)
            .with_hint(hint);
        match HostRule::exact(host, *port) {
            Ok(rule) => error.with_context("rule", rule),
            Err(_) => error.with_context("port", port),
        }
    }
}
