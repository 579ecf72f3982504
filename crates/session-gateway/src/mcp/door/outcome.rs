//! What an agent is told when a call has no answer of its server.
//!
//! A model reads it, and with `isError` it is shown the text alone, so the text is complete on its own: what happened,
//! above all whether the call may have run, and what can be done. Programs find the same in `_meta`; not in
//! `structuredContent`, which clients hold against the tool's output schema.

use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, MetaObject};
use serde_json::json;
use session_core::mcp::ServerName;

use super::{search, text};
use crate::mcp::call::{CallError, Failure, FailureCause};

/// Under which a failed call's account stands in the `_meta` of its result, and in the `data` of an error.
pub(super) const META_KEY: &str = "io.cofferdam/failure";
/// JSON-RPC leaves these codes to servers.
const UNAVAILABLE: ErrorCode = ErrorCode(-32010);
const BUSY: ErrorCode = ErrorCode(-32011);
/// Names of an agent's that are repeated to it, in bytes.
const MAX_NAME: usize = 160;

/// Why a request was not answered by a server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) server: Option<ServerName>,
    what: String,
    hint: String,
    pub(super) retryable: bool,
    /// The protocol's own words for it, where the request has no result that could tell.
    error: ErrorCode,
}

impl Refusal {
    fn new(code: &'static str, what: String, hint: String, error: ErrorCode) -> Self {
        Self {
            code,
            server: None,
            what,
            hint,
            retryable: false,
            error,
        }
    }

    fn of(mut self, server: &ServerName) -> Self {
        self.server = Some(server.clone());
        self
    }

    fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// A tool that nobody approved as it is now.
    pub(super) fn held(name: &str, server: &ServerName) -> Self {
        Self::new(
            "tool_held",
            format!(
                "the tool {} was not called: it changed since it was approved, or was never approved",
                line(name)
            ),
            format!("a person can look at the change and approve it with `cofferdam mcp approve {server}`; use other tools meanwhile"),
            ErrorCode::INVALID_PARAMS,
        )
        .of(server)
    }

    /// A tool that the session may not use.
    pub(super) fn filtered(name: &str) -> Self {
        Self::new(
            "tool_not_allowed",
            format!(
                "the tool {} was not called: this session may not use it",
                line(name)
            ),
            "use the tools that are listed; a person decides which a session has when it is made".to_owned(),
            ErrorCode::INVALID_PARAMS,
        )
    }

    /// A tool that nobody has.
    pub(super) fn unknown_tool(name: &str, searching: bool) -> Self {
        let hint = if searching {
            format!("find tools with {}", search::SEARCH)
        } else {
            "list the tools again: they may have changed".to_owned()
        };
        Self::new(
            "unknown_tool",
            format!("there is no tool {}; nothing was called", line(name)),
            hint,
            ErrorCode::INVALID_PARAMS,
        )
    }

    /// Arguments of our own tools that are none.
    pub(super) fn invalid(tool: &str, error: &serde_json::Error) -> Self {
        Self::new(
            "invalid_arguments",
            format!("the arguments of {tool} do not fit: {}", line(&error.to_string())),
            "see the tool's input schema".to_owned(),
            ErrorCode::INVALID_PARAMS,
        )
    }

    /// A session that has too much under way.
    pub(super) fn busy() -> Self {
        Self::new(
            "too_many_calls",
            "nothing was called: this session has as many calls under way as it may".to_owned(),
            "wait for some of them to end".to_owned(),
            BUSY,
        )
        .retryable()
    }

    /// A `requestState` that is not ours, or not any more.
    pub(super) fn unknown_state() -> Self {
        Self::new(
            "unknown_request_state",
            "what the call waited for came too late or for another request; the call was given up and may have run".to_owned(),
            "look whether it was done before you call it again, then without requestState".to_owned(),
            ErrorCode::INVALID_PARAMS,
        )
    }

    /// Why a server did not answer. `None` for what is not told: its own answers, and to nobody.
    pub(super) fn of_call(error: &CallError) -> Option<Self> {
        match error {
            CallError::Answered(_) | CallError::Cancelled => None,
            CallError::NotSent(failure) => Some(Self::failure(error, failure, false)),
            CallError::MayHaveRun(failure) => Some(Self::failure(error, failure, true)),
        }
    }

    fn failure(error: &CallError, failure: &Failure, may_have_run: bool) -> Self {
        let (code, remedy, retryable) = account(failure);
        let hint = if may_have_run {
            "look whether it was done before you call it again".to_owned()
        } else {
            remedy
        };
        let mut refusal = Self::new(code, error.to_string(), hint, UNAVAILABLE).of(&failure.server);
        refusal.retryable = retryable && !may_have_run;
        refusal
    }

    fn text(&self) -> String {
        let mut text = format!("{}\ncode: {}\nhint: {}", self.what, self.code, self.hint);
        if self.retryable {
            text.push_str("\nretry: the same call may succeed later");
        }
        text
    }

    fn data(&self) -> serde_json::Value {
        json!({ "code": self.code, "server": self.server, "retryable": self.retryable })
    }

    /// As the result of a tool.
    pub(super) fn into_result(self) -> CallToolResult {
        let mut meta = MetaObject::new();
        meta.insert(META_KEY.to_owned(), self.data());
        CallToolResult::error(vec![ContentBlock::text(self.text())]).with_meta(Some(meta))
    }

    /// As an error of the protocol.
    pub(super) fn into_error(self) -> ErrorData {
        ErrorData::new(self.error, self.text(), Some(json!({ META_KEY: self.data() })))
    }
}

/// A stable code, what to do about it, and whether the same call may succeed later.
fn account(failure: &Failure) -> (&'static str, String, bool) {
    let server = &failure.server;
    let operator = |what: &str| format!("{what}; a person sees more with `cofferdam mcp test {server}`");
    match failure.cause {
        FailureCause::Missing => (
            "server_missing",
            operator("what the server needs is not there"),
            false,
        ),
        FailureCause::SecretMissing => (
            "server_secret_missing",
            operator("the reference to its secret leads nowhere"),
            false,
        ),
        FailureCause::Ended => (
            "server_ended",
            operator("it is started again by the next call"),
            true,
        ),
        FailureCause::Silent => ("server_silent", operator("it may only be slow"), true),
        FailureCause::Broken => (
            "server_broken",
            operator("it does not speak MCP as it should"),
            false,
        ),
        FailureCause::Forbidden => (
            "server_forbidden",
            operator("its address may not be reached"),
            false,
        ),
        FailureCause::NeedsLogin => (
            "server_needs_login",
            format!("a person has to log in with `cofferdam mcp login {server}`"),
            false,
        ),
        FailureCause::Unauthorized => (
            "server_unauthorized",
            operator("it refuses the credential that it was given"),
            false,
        ),
        FailureCause::HeldOff => (
            "server_held_off",
            operator("it failed too often and is tried again in a while; use other tools meanwhile"),
            true,
        ),
        FailureCause::Unavailable => ("server_unavailable", operator("use other tools meanwhile"), true),
    }
}

/// An agent's or a server's words as part of a line.
pub(super) fn line(text: &str) -> String {
    text::line(text, MAX_NAME)
}
