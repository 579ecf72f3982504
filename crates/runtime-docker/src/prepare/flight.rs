//! One at a time for each thing that is made: who comes second finds it made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// A mutex for each key, for as long as somebody holds or awaits it.
#[derive(Debug, Default)]
pub(super) struct Flights {
    keys: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Flights {
    /// Waits until nobody else makes `key`. Look again before making it.
    pub(super) async fn board(&self, key: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.retain(|_, turn| Arc::strong_count(turn) > 1);
            keys.entry(key.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_key_is_held_once_and_forgotten_when_free() {
        let flights = Flights::default();
        let first = flights.board("a").await;
        let _other = flights.board("b").await;
        let second = tokio::spawn({
            let turn = flights.keys.lock().unwrap()["a"].clone();
            async move { turn.lock_owned().await }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        drop(second.await.unwrap());
        let _third = flights.board("c").await;
        assert_eq!(flights.keys.lock().unwrap().len(), 2, "a is free and forgotten");
    }
}
