//! What servers ask of the agent while they work: sampling, elicitation, roots. In both directions of the protocol's
//! revisions: before 2026-07-28 these are requests to the client, since then parts of a result that wants more input.
#![expect(
    deprecated,
    reason = "sampling and roots are on their way out of the protocol, and servers use them"
)]

use rmcp::model::{
    ClientCapabilities, ClientResult, CreateMessageResult, ElicitRequestParams, ElicitResult,
    ElicitationCapability, ErrorCode, ErrorData, FormElicitationCapability, GetExtensions, InputRequest,
    JsonObject, ListRootsResult, RootsCapabilities, SamplingCapability, ServerRequest,
    UrlElicitationCapability,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

/// A question of a server, and where the answer goes.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: ServerRequest,
    /// How the server calls it, when it has a name for it.
    pub(super) key: Option<String>,
    pub(super) answer: oneshot::Sender<Result<ClientResult, ErrorData>>,
}

/// What an agent would have to be able to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Missing {
    what: Vec<&'static str>,
    needed: Box<ClientCapabilities>,
}

impl Missing {
    fn new(what: &'static str, need: impl FnOnce(&mut ClientCapabilities)) -> Self {
        let mut needed = Box::<ClientCapabilities>::default();
        need(&mut needed);
        let what = vec![what];
        Self { what, needed }
    }

    /// This and another thing.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.what.extend(other.what);
        let (ours, theirs) = (&mut self.needed, other.needed);
        ours.sampling = ours.sampling.take().or(theirs.sampling);
        ours.elicitation = ours.elicitation.take().or(theirs.elicitation);
        ours.roots = ours.roots.take().or(theirs.roots);
        self
    }

    /// The answer to a server that asks.
    pub(super) fn to_server(&self) -> ErrorData {
        let message = format!("the client does not do this: {}", self.what.join(", "));
        ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None)
    }

    /// The answer to the agent whose request cannot go on without.
    pub(super) fn into_answer(self) -> ErrorData {
        let mut error = ErrorData::missing_required_client_capability(*self.needed);
        let what = self.what.join(", ");
        error.message = format!("the server needs a client that does this: {what}").into();
        error
    }
}

/// Whether the agent said that it can do what is asked of it.
pub(super) fn judge(request: &ServerRequest, able: &ClientCapabilities) -> Result<(), Missing> {
    match request {
        ServerRequest::CreateMessageRequest(sampling) => {
            let tools = sampling.params.tools.is_some() || sampling.params.tool_choice.is_some();
            judge_sampling(tools, able.sampling.as_ref())
        }
        ServerRequest::ElicitRequest(elicitation) => {
            judge_elicitation(&elicitation.params, able.elicitation.as_ref())
        }
        ServerRequest::ListRootsRequest(_) if able.roots.is_some() => Ok(()),
        ServerRequest::ListRootsRequest(_) => Err(Missing::new("roots", |needed| {
            needed.roots = Some(RootsCapabilities::default());
        })),
        _ => Err(Missing::new("requests of the server's own", |_| {})),
    }
}

fn judge_sampling(tools: bool, able: Option<&SamplingCapability>) -> Result<(), Missing> {
    match able {
        Some(can) if !tools || can.tools.is_some() => Ok(()),
        _ => Err(Missing::new(
            if tools { "sampling with tools" } else { "sampling" },
            |needed| {
                let mut sampling = SamplingCapability::default();
                sampling.tools = tools.then(JsonObject::new);
                needed.sampling = Some(sampling);
            },
        )),
    }
}

fn judge_elicitation(
    asked: &ElicitRequestParams,
    able: Option<&ElicitationCapability>,
) -> Result<(), Missing> {
    let need = |what, elicitation| Missing::new(what, |needed| needed.elicitation = Some(elicitation));
    match asked {
        ElicitRequestParams::UrlElicitationParams { .. } => match able {
            Some(can) if can.url.is_some() => Ok(()),
            _ => Err(need(
                "elicitation with a URL",
                ElicitationCapability::new().with_url(UrlElicitationCapability::new()),
            )),
        },
        // A client that names no mode has the one that was there first.
        _ => match able {
            Some(can) if can.form.is_some() || can.url.is_none() => Ok(()),
            _ => Err(need(
                "elicitation",
                ElicitationCapability::new().with_form(FormElicitationCapability::new()),
            )),
        },
    }
}

/// A question as it is put to the agent: nothing of the server's connection is left on it.
pub(super) fn clean(mut request: ServerRequest) -> ServerRequest {
    *request.extensions_mut() = rmcp::model::Extensions::default();
    request
}

/// As part of a result that wants more input.
pub(super) fn to_input(request: &ServerRequest) -> Option<InputRequest> {
    match request {
        ServerRequest::CreateMessageRequest(request) => Some(InputRequest::CreateMessage(request.clone())),
        ServerRequest::ElicitRequest(request) => Some(InputRequest::Elicitation(request.clone())),
        ServerRequest::ListRootsRequest(request) => Some(InputRequest::ListRoots(request.clone())),
        _ => None,
    }
}

/// A part of such a result as a question.
pub(super) fn from_input(input: InputRequest) -> Option<ServerRequest> {
    match input {
        InputRequest::CreateMessage(request) => Some(ServerRequest::CreateMessageRequest(request)),
        InputRequest::Elicitation(request) => Some(ServerRequest::ElicitRequest(request)),
        InputRequest::ListRoots(request) => Some(ServerRequest::ListRootsRequest(request)),
        _ => None,
    }
}

/// Reads what a client answered to a part of such a result.
pub(super) fn read_answer(asked: &ServerRequest, answer: &Value) -> Option<ClientResult> {
    fn read<T: DeserializeOwned>(answer: &Value) -> Option<T> {
        T::deserialize(answer).ok()
    }
    match asked {
        ServerRequest::CreateMessageRequest(_) => {
            let result: CreateMessageResult = read(answer)?;
            Some(ClientResult::CreateMessageResult(Box::new(result)))
        }
        ServerRequest::ElicitRequest(_) => Some(ClientResult::ElicitResult(read::<ElicitResult>(answer)?)),
        ServerRequest::ListRootsRequest(_) => {
            Some(ClientResult::ListRootsResult(read::<ListRootsResult>(answer)?))
        }
        _ => None,
    }
}
