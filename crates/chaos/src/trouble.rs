//! What went wrong, collected from wherever it is noticed; the first of it ends the world.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    found: Arc<Mutex<Vec<String>>>,
    any: Arc<watch::Sender<bool>>,
}

impl Trouble {
    pub(crate) fn tell(&self, what: impl Into<String>) {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what.into());
        self.any.send_replace(true);
    }

    pub(crate) fn any(&self) -> bool {
        *self.any.borrow()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
