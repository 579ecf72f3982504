//! What the model does, step by step. A step is taken by each request of the main conversation, in order of arrival.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::{ApiFailure, ApiRequest, Ending, Message};

/// What the model says when a script has no step left.
pub const SCRIPT_ENDED: &str = "(script ended)";

/// One answer to one request, good or bad.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The model speaks.
    Message(Message),
    /// The API refuses or fails.
    Failure(ApiFailure),
    /// Bytes that are not the API's, with a status: what a captive portal or a broken proxy sends.
    Raw {
        /// The HTTP status.
        status: u16,
        /// The `content-type`.
        content_type: String,
        /// The body.
        body: Bytes,
    },
    /// Nothing, not even a status, while the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Close,
}

impl Reply {
    /// A page of HTML with status 200, where a message is expected.
    pub fn garbage() -> Self {
        Self::Raw {
            status: 200,
            content_type: "text/html".to_owned(),
            body: Bytes::from_static(b"<html><body>Welcome to the hotel. Please log in.</body></html>\n"),
        }
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
}

impl From<ApiFailure> for Reply {
    fn from(failure: ApiFailure) -> Self {
        Self::Failure(failure)
    }
}

/// Holds an answer back until a test says go: the way to act *while* the model is working without sleeping and hoping.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open. Cancel-safe.
    pub(crate) async fn pass(&self) {
        let mut state = self.0.subscribe();
        // The sender lives in `self`, so the wait can only end by opening.
        let _opened = state.wait_for(|open| *open).await.is_ok();
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

type Answer = Arc<dyn Fn(&ApiRequest) -> Reply + Send + Sync>;

#[derive(Clone)]
enum Action {
    Reply(Reply),
    Answer(Answer),
}

#[derive(Clone)]
struct Step {
    action: Action,
    gate: Option<Gate>,
    /// How many requests it still answers; `None` is all of them.
    left: Option<u32>,
}

/// A step that was taken from a script, for one request.
pub(super) struct Taken {
    pub(super) gate: Option<Gate>,
    action: Action,
}

impl Taken {
    pub(super) fn reply(self, request: &ApiRequest) -> Reply {
        match self.action {
            Action::Reply(reply) => reply,
            Action::Answer(answer) => answer(request),
        }
    }
}

/// The model's side of a conversation.
///
/// Builder methods append a step; [`times`](Self::times), [`forever`](Self::forever) and [`gated`](Self::gated) change the last
/// one. After the last step the model says [`SCRIPT_ENDED`] to everything.
#[derive(Clone, Default)]
pub struct Script {
    steps: VecDeque<Step>,
}

impl Script {
    /// A script without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// A model that always says the same at once, for benchmarks.
    pub fn always(text: impl Into<String>) -> Self {
        Self::new().say(text).forever()
    }

    /// The model says something and ends its turn.
    #[must_use]
    pub fn say(self, text: impl Into<String>) -> Self {
        self.reply(Message::new().text(text))
    }

    /// The model calls one tool.
    #[must_use]
    pub fn tool(self, name: impl Into<String>, input: Value) -> Self {
        self.reply(Message::new().tool(name, input))
    }

    /// The API fails. Agents retry most failures: see [`times`](Self::times).
    #[must_use]
    pub fn fail(self, failure: ApiFailure) -> Self {
        self.reply(failure)
    }

    /// A body that is not the API's.
    #[must_use]
    pub fn garbage(self) -> Self {
        self.reply(Reply::garbage())
    }

    /// No answer ever.
    #[must_use]
    pub fn hang(self) -> Self {
        self.reply(Reply::Hang)
    }

    /// Half of this text, then nothing, with the connection open.
    #[must_use]
    pub fn hang_midway(self, text: impl Into<String>) -> Self {
        self.reply(Message::new().text(text).ending(Ending::Hang))
    }

    /// Half of this text, then the connection breaks.
    #[must_use]
    pub fn drop_midway(self, text: impl Into<String>) -> Self {
        self.reply(Message::new().text(text).ending(Ending::Drop))
    }

    /// The connection is closed without a word.
    #[must_use]
    pub fn close(self) -> Self {
        self.reply(Reply::Close)
    }

    /// Any reply.
    #[must_use]
    pub fn reply(self, reply: impl Into<Reply>) -> Self {
        self.push(Action::Reply(reply.into()))
    }

    /// A reply that is worked out from the request. The closure must be quick: it runs on the server's task.
    #[must_use]
    pub fn answer(self, answer: impl Fn(&ApiRequest) -> Reply + Send + Sync + 'static) -> Self {
        self.push(Action::Answer(Arc::new(answer)))
    }

    /// All steps of another script.
    #[must_use]
    pub fn then(mut self, other: Script) -> Self {
        self.steps.extend(other.steps);
        self
    }

    /// The last step answers this many requests instead of one.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        self.amend(|step| step.left = Some(count))
    }

    /// The last step answers all further requests.
    #[must_use]
    pub fn forever(self) -> Self {
        self.amend(|step| step.left = None)
    }

    /// The last step is answered once the gate is open.
    #[must_use]
    pub fn gated(self, gate: &Gate) -> Self {
        self.amend(|step| step.gate = Some(gate.clone()))
    }

    /// Every message so far waits this long before each of its deltas.
    #[must_use]
    pub fn paced(mut self, delay: Duration) -> Self {
        for step in &mut self.steps {
            if let Action::Reply(Reply::Message(message)) = &mut step.action {
                message.pace = delay;
            }
        }
        self
    }

    fn push(mut self, action: Action) -> Self {
        self.steps.push_back(Step {
            action,
            gate: None,
            left: Some(1),
        });
        self
    }

    fn amend(mut self, change: impl FnOnce(&mut Step)) -> Self {
        if let Some(step) = self.steps.back_mut() {
            change(step);
        }
        self
    }

    /// How many answers are still owed, without those of an endless step.
    pub(super) fn remaining(&self) -> u64 {
        self.steps
            .iter()
            .filter_map(|step| step.left)
            .map(u64::from)
            .sum()
    }

    pub(super) fn take(&mut self) -> Taken {
        while let Some(step) = self.steps.front_mut() {
            match &mut step.left {
                Some(0) => {
                    self.steps.pop_front();
                }
                Some(left) => {
                    *left -= 1;
                    return step.taken();
                }
                None => return step.taken(),
            }
        }
        Taken {
            gate: None,
            action: Action::Reply(Message::new().text(SCRIPT_ENDED).into()),
        }
    }
}

impl Step {
    fn taken(&self) -> Taken {
        Taken {
            gate: self.gate.clone(),
            action: self.action.clone(),
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("steps", &self.steps.len())
            .field("remaining", &self.remaining())
            .finish()
    }
}
