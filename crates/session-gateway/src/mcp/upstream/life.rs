//! Who owns what carries a connection, from its start until nothing of it is left.
//!
//! One task owns the carrier. It finds out why a connection ended, tells it once, and ends what is left: in order when it
//! is asked to, at once when the connection was dropped or has failed.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use session_core::mcp::ServerName;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ending::Ending;
use super::words;
use crate::mcp::call::{Failure, FailureCause};

/// How long what a carrier said before it ended may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why something ended.
pub(in crate::mcp) type Reason = (FailureCause, String);

/// What a connection runs on.
#[async_trait]
pub(super) trait Carrier: Send + 'static {
    /// Waits until it has ended by itself and says how. Cancel-safe, and asked again after it has answered.
    async fn ended(&mut self) -> Reason;

    /// Ends it in order; its input is closed already.
    async fn close(&mut self, grace: Duration);

    /// Ends it at once. Returns when nothing of it is left.
    async fn kill(&mut self);
}

/// The connection's side of its owner. Dropping it ends the carrier at once.
#[derive(Debug)]
pub(super) struct Life {
    _kill: DropGuard,
    close: watch::Sender<Option<Duration>>,
    ended: watch::Receiver<Option<Failure>>,
    gone: watch::Receiver<bool>,
}

impl Life {
    /// Gives the carrier to a task of its own.
    pub(super) fn begin(server: ServerName, carrier: impl Carrier, ending: Ending) -> Self {
        let kill = CancellationToken::new();
        let (close, closing) = watch::channel(None);
        let (publish, ended) = watch::channel(None);
        let (left, gone) = watch::channel(false);
        let owner = Owner {
            server,
            carrier,
            ending,
            kill: kill.clone(),
            closing,
            publish,
        };
        tokio::spawn(async move {
            owner.run().await;
            left.send_replace(true);
        });
        Self {
            _kill: kill.drop_guard(),
            close,
            ended,
            gone,
        }
    }

    /// Waits until the connection has ended and says why. Outlives this.
    pub(super) fn ended(&self) -> impl Future<Output = Failure> + Send + 'static {
        let mut ended = self.ended.clone();
        async move {
            let told = ended.wait_for(Option::is_some).await;
            if let Some(failure) = told.ok().and_then(|told| told.clone()) {
                return failure;
            }
            // The owner was taken away with its runtime: nobody is there to be told.
            std::future::pending().await
        }
    }

    /// Ends the carrier in order and waits until nothing of it is left. Dropping the future ends it at once.
    pub(super) async fn close(mut self, grace: Duration) {
        self.close.send_replace(Some(grace));
        let _ = self.gone.wait_for(|gone| *gone).await;
    }

    /// Ends the carrier at once and waits until nothing of it is left.
    pub(super) async fn kill(self) {
        let Self { _kill, mut gone, .. } = self;
        drop(_kill);
        let _ = gone.wait_for(|gone| *gone).await;
    }
}

struct Owner<C> {
    server: ServerName,
    carrier: C,
    ending: Ending,
    kill: CancellationToken,
    closing: watch::Receiver<Option<Duration>>,
    publish: watch::Sender<Option<Failure>>,
}

impl<C: Carrier> Owner<C> {
    async fn run(mut self) {
        let ours = || (FailureCause::Ended, "it was stopped".to_owned());
        let (reason, grace) = tokio::select! {
            // When it was us, that is the reason, whatever else follows from it.
            biased;
            () = self.kill.cancelled() => (ours(), None),
            grace = asked(&mut self.closing) => (ours(), Some(grace)),
            () = self.ending.stopped() => {
                // Whoever sent something is told how that went before they are told of the end.
                let _ = timeout(LAST_WORDS, self.ending.gone()).await;
                (self.reason().await, None)
            }
            // Of no use any more, and what it said last is read already.
            () = self.ending.gone() => (self.reason().await, None),
            reason = self.carrier.ended() => {
                // What it said before it ended is still on its way.
                let _ = timeout(LAST_WORDS, self.ending.gone()).await;
                (self.ending.fault().cloned().unwrap_or(reason), None)
            }
        };
        self.ending.stop();
        let (cause, detail) = reason;
        tracing::debug!(server = %self.server, ?cause, "a connection with an MCP server ended");
        self.publish.send_replace(Some(Failure {
            server: self.server,
            cause,
            detail: words::one_line(&detail),
        }));
        if let Some(grace) = grace {
            tokio::select! {
                // Whatever it left undone is done by `kill`.
                () = self.carrier.close(grace) => {}
                () = self.kill.cancelled() => {}
            }
        }
        self.carrier.kill().await;
    }

    /// Why the transport is gone: what a part of the connection said, or how the carrier ended.
    async fn reason(&mut self) -> Reason {
        if let Some(fault) = self.ending.fault() {
            return fault.clone();
        }
        match timeout(LAST_WORDS, self.carrier.ended()).await {
            Ok(reason) => reason,
            Err(_elapsed) => (FailureCause::Ended, "it closed the connection".to_owned()),
        }
    }
}

/// Waits until the connection is closed.
async fn asked(closing: &mut watch::Receiver<Option<Duration>>) -> Duration {
    if let Ok(grace) = closing.wait_for(Option::is_some).await
        && let Some(grace) = *grace
    {
        return grace;
    }
    // It was dropped instead, which is another arm.
    std::future::pending().await
}
