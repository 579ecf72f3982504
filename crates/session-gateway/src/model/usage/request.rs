//! Listens to a request's body as it passes: for the model that it asks for, and for what makes it dearer.
//!
//! What the provider says about the same counts first; this is for answers that do not say. Nothing of the body is held
//! but the member that is being read, up to its bound.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::json::JsonScanner;
use super::{is_fast, is_us_only};
use crate::model::accounts::ModelName;
use crate::model::activity::Activity;

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) model: Option<ModelName>,
    pub(crate) fast: bool,
    pub(crate) us_only: bool,
    /// How much of it has passed.
    pub(crate) bytes: u64,
}

/// Listens to one request's body, which somebody else owns while it passes.
#[derive(Debug)]
pub(crate) struct RequestTap {
    scanner: JsonScanner,
    asked: Arc<Mutex<Asked>>,
    activity: Arc<Activity>,
}

impl RequestTap {
    pub(crate) fn new(asked: Arc<Mutex<Asked>>, activity: Arc<Activity>) -> Self {
        Self {
            scanner: JsonScanner::new(&["model", "speed", "inference_geo"]),
            asked,
            activity,
        }
    }

    /// Hears the next bytes.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        self.activity.moved();
        let asked = &self.asked;
        let mut held = asked.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes = held.bytes.saturating_add(chunk.len() as u64);
        drop(held);
        self.scanner.feed(chunk, |name, value| {
            let Ok(value) = serde_json::from_slice::<Value>(value) else {
                return;
            };
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            match name {
                "speed" => asked.fast |= is_fast(&value),
                "inference_geo" => asked.us_only |= is_us_only(&value),
                // The last of several counts, as it does for most parsers.
                _ => asked.model = value.as_str().and_then(ModelName::parse).or(asked.model.take()),
            }
        });
    }
}
