//! What servers ask of the agent while they work: sampling, elicitation, roots. In both directions of the protocol's
//! revisions: before 2026-07-28 these are requests to the client, since then parts of a result that wants more input.
#![expect(
    deprecated,
    reason = "sampling and roots are on their way out of the protocol, and servers use them"
)]

use rmcp::model::{
    ClientCapabilities, ClientResult, CreateMessageResult, ElicitRequestParams, ElicitResult, ErrorCode,
    ErrorData, GetExtensions, InputRequest, ListRootsResult, ServerRequest,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

/// A question of a server, and where the answer goes.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: ServerRequest,
    pub(super) answer: oneshot::Sender<Result<ClientResult, ErrorData>>,
}

/// The answer to a server whose question cannot be asked.
pub(super) fn cannot(what: &str) -> ErrorData {
    ErrorData::new(
        ErrorCode::METHOD_NOT_FOUND,
        format!("the client does not do this: {what}"),
        None,
    )
}

/// Whether the agent said that it can do what is asked of it.
///
/// # Errors
/// What the server is answered instead.
pub(super) fn judge(request: &ServerRequest, able: &ClientCapabilities) -> Result<(), ErrorData> {
    let judged = match request {
        ServerRequest::CreateMessageRequest(sampling) => {
            let tools = sampling.params.tools.is_some() || sampling.params.tool_choice.is_some();
            match &able.sampling {
                Some(can) if tools && can.tools.is_none() => Err("sampling with tools"),
                Some(_) => Ok(()),
                None => Err("sampling"),
            }
        }
        ServerRequest::ElicitRequest(elicitation) => match (&able.elicitation, &elicitation.params) {
            (None, _) => Err("elicitation"),
            // A client that names no mode has the one that was there first.
            (Some(can), ElicitRequestParams::FormElicitationParams { .. }) => {
                if can.form.is_some() || can.url.is_none() {
                    Ok(())
                } else {
                    Err("elicitation with a form")
                }
            }
            (Some(can), ElicitRequestParams::UrlElicitationParams { .. }) if can.url.is_some() => Ok(()),
            (Some(_), _) => Err("elicitation with a URL"),
        },
        ServerRequest::ListRootsRequest(_) if able.roots.is_some() => Ok(()),
        ServerRequest::ListRootsRequest(_) => Err("roots"),
        _ => Err("requests of the server's own"),
    };
    judged.map_err(cannot)
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
