//! How the parts of one connection tell each other that it is over, and why.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::mcp::call::FailureCause;

/// Shared by all parts of a connection. The first reason is the reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    fault: OnceLock<(FailureCause, String)>,
    /// Nothing more is to be read.
    stop: CancellationToken,
    /// The transport is gone.
    over: CancellationToken,
    /// Whether the server was greeted in the old way.
    initialize_sent: AtomicBool,
    /// Whether it knew no other.
    of_old: AtomicBool,
}

impl Ending {
    /// The connection is of no more use, for a reason that is known.
    pub(crate) fn fail(&self, cause: FailureCause, detail: impl Into<String>) {
        // The reason first: whoever is woken asks for it.
        let _ = self.0.fault.set((cause, detail.into()));
        self.0.stop.cancel();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.0.fault.get().is_some()
    }

    /// The reason, if one was given.
    pub(crate) fn fault(&self) -> Option<&(FailureCause, String)> {
        self.0.fault.get()
    }

    /// The connection is of no more use, for a reason that is yet to be found out.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Waits for either.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.stop.clone().cancelled_owned()
    }

    /// The transport is gone.
    pub(crate) fn over(&self) {
        self.0.over.cancel();
    }

    /// Waits for that.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.over.clone().cancelled_owned()
    }

    /// Whether `initialize` was sent.
    pub(super) fn has_greeted_of_old(&self) -> bool {
        self.0.initialize_sent.load(Ordering::Acquire)
    }

    /// `initialize` is sent.
    pub(crate) fn greets_of_old(&self) {
        self.0.initialize_sent.store(true, Ordering::Release);
    }

    /// The server answered `initialize`, and what was asked before with an error or never.
    pub(crate) fn knows_the_old_alone(&self) {
        self.0.of_old.store(true, Ordering::Release);
    }

    pub(super) fn is_of_old(&self) -> bool {
        self.0.of_old.load(Ordering::Acquire)
    }
}
