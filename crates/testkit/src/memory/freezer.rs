//! Freezes tasks: what a paused container and a stopped process do not do is run.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;

/// A switch that holds every future that was wrapped with it.
#[derive(Debug, Clone)]
pub(super) struct Freezer(Arc<watch::Sender<bool>>);

impl Freezer {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(super) fn set(&self, frozen: bool) {
        self.0.send_replace(frozen);
    }

    /// `future`, which is not polled while the switch is on.
    pub(super) fn wrap<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let mut state = self.0.subscribe();
        // Whoever waits keeps the switch, so that waiting can only end by switching.
        let _switch = self.clone();
        async move {
            let _switch = _switch;
            let mut future = pin!(future);
            loop {
                let _ = state.wait_for(|frozen| !*frozen).await;
                tokio::select! {
                    biased;
                    // Dropping `wait_for` loses nothing, and `future` stays where it is.
                    _ = state.wait_for(|frozen| *frozen) => {}
                    output = &mut future => return output,
                }
            }
        }
    }
}
