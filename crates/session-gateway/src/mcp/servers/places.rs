//! How many servers run in this process at once, and who makes room.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::instance::Instance;

/// See the module.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    instances: Mutex<Vec<Weak<Instance>>>,
}

impl Places {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            instances: Mutex::default(),
        })
    }

    /// An instance that may be asked to make room.
    pub(crate) fn register(&self, instance: &Arc<Instance>) {
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        instances.retain(|known| known.strong_count() > 0);
        instances.push(Arc::downgrade(instance));
    }

    /// A place for one more; where there is none, the server that was idle for longest is stopped. `None` when all work.
    pub(crate) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(place);
        }
        let idle = self.longest_idle()?;
        tracing::debug!(server = %idle.name, "an idle MCP server is stopped to make room");
        idle.yield_place().await;
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    fn longest_idle(&self) -> Option<Arc<Instance>> {
        let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = instances.iter().filter_map(|known| {
            let instance = known.upgrade()?;
            Some((instance.idle_since()?, instance))
        });
        idle.min_by_key(|(since, _)| *since).map(|(_, instance)| instance)
    }
}
