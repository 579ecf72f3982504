//! What a file of the journal says.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::id::SessionId;

use crate::caller::{Caller, Scope};
use crate::compat::queue::Priority;

/// The form of the files. A file of another version is kept aside.
pub(super) const VERSION: u32 = 1;

/// Something that was taken on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::compat) struct Entry {
    version: u32,
    /// The id of the task or analysis, and the name of the file.
    pub(in crate::compat) id: SessionId,
    /// Who came first has the smaller one.
    pub(in crate::compat) number: u64,
    /// Its session, as soon as it is known. No other session is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::compat) session: Option<SessionId>,
    /// How many sessions were begun for it without a prompt, because the server ended meanwhile.
    #[serde(default)]
    pub(in crate::compat) attempt: u32,
    pub(in crate::compat) work: Work,
}

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::compat) enum Work {
    /// Goes on in the next process.
    Task(Box<TaskWork>),
    /// Ends with its client; only its session has to be put away.
    Analysis,
}

/// A task, whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::compat) struct TaskWork {
    pub(in crate::compat) description: String,
    pub(in crate::compat) context: Value,
    pub(in crate::compat) project_path: String,
    pub(in crate::compat) priority: Priority,
    pub(in crate::compat) started_at: jiff::Timestamp,
    pub(in crate::compat) by: By,
}

/// Who asked for it. The work goes on with what they might do then.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::compat) struct By {
    /// The token; nobody but the server's own user without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    scope: Scope,
    all_sessions: bool,
}

impl Entry {
    pub(in crate::compat) fn new(id: SessionId, work: Work) -> Self {
        Self {
            version: VERSION,
            id,
            number: 0,
            session: None,
            attempt: 0,
            work,
        }
    }

    /// Reads the file of that id.
    pub(super) fn read(id: SessionId, bytes: &[u8]) -> Result<Self, String> {
        let entry: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if entry.version != VERSION {
            return Err(format!("it has the version {}", entry.version));
        }
        if entry.id != id {
            return Err("it has the id of another".to_owned());
        }
        Ok(entry)
    }
}

impl By {
    pub(in crate::compat) fn of(caller: &Caller) -> Self {
        Self {
            token: caller.name().map(str::to_owned),
            scope: caller.scope(),
            all_sessions: caller.sees_all(),
        }
    }

    pub(in crate::compat) fn caller(&self) -> Caller {
        match &self.token {
            Some(name) => Caller::with_token(name, self.scope, self.all_sessions),
            None => Caller::local(),
        }
    }
}
