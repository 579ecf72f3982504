//! The arguments of a tool call, beside the message from which they were taken.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

/// See the module. Cloning it clones the way to the arguments, not them; they can be taken once.
#[derive(Clone)]
pub(crate) struct Arguments(Arc<Mutex<Option<Value>>>);

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arguments(hidden)")
    }
}

impl Arguments {
    /// Takes the arguments out of a message if it is a tool call that has some.
    pub(super) fn take(message: &mut Value) -> Option<Self> {
        if message.get("method")? != "tools/call" {
            return None;
        }
        let arguments = message.get_mut("params")?.get_mut("arguments")?;
        let taken = std::mem::replace(arguments, Value::Object(Map::new()));
        Some(Self(Arc::new(Mutex::new(Some(taken)))))
    }

    /// The arguments, for the one who handles the call.
    pub(crate) fn take_out(&self) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
