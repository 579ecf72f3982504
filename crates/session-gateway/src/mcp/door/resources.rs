//! Resources of servers: read where they are.

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{
    ClientRequest, ErrorCode, ErrorData, ReadResourceRequestParams, ReadResourceResponse, Request,
    ResultType, ServerResult,
};
use rmcp::service::RequestContext;
use serde_json::json;

use super::core::Core;
use super::drive::{Landed, Trip, misfit};
use super::flight::Subject;

const METHOD: &str = "resources/read";

/// Reads a resource from the server that has it.
pub(super) async fn read(
    core: &Arc<Core>,
    request: ReadResourceRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<ReadResourceResponse, ErrorData> {
    let trip = || Trip {
        core,
        context,
        subject: Subject {
            method: METHOD,
            name: request.uri.clone(),
        },
    };
    if let Some(state) = &request.request_state {
        return response(trip().resume(state, request.input_responses.as_ref()).await);
    }
    let mut catalog = core.catalog();
    if catalog.owner(&request.uri).is_none() {
        catalog = core.settled().await;
    }
    let ask = async |server: usize| {
        let mut params = ReadResourceRequestParams::new(request.uri.clone());
        params.input_responses = request.input_responses.clone();
        let request = ClientRequest::ReadResourceRequest(Request::new(params));
        trip().begin(server, request, true).await
    };
    if let Some(owner) = catalog.owner(&request.uri) {
        return response(ask(owner).await);
    }
    // A server may have resources that it lists nowhere.
    if let Some(server) = catalog.resource(&request.uri) {
        match ask(server).await {
            Landed::Error(error) if is_not_there(&error) => {}
            Landed::Refused(refusal) if refusal.server.is_some() => {}
            landed => return response(landed),
        }
    }
    Err(ErrorData::resource_not_found(
        "no server of this session has this resource",
        Some(json!({ "uri": request.uri })),
    ))
}

/// Servers have said this in several ways.
fn is_not_there(error: &ErrorData) -> bool {
    matches!(
        error.code,
        ErrorCode::RESOURCE_NOT_FOUND | ErrorCode::INVALID_PARAMS | ErrorCode::METHOD_NOT_FOUND
    )
}

fn response(landed: Landed) -> Result<ReadResourceResponse, ErrorData> {
    match landed {
        Landed::Answered(ServerResult::ReadResourceResult(mut result)) => {
            result.result_type = Some(ResultType::COMPLETE);
            Ok(result.into())
        }
        Landed::Answered(_) => Err(misfit(METHOD)),
        Landed::Wants(wanted) => Ok(wanted.into()),
        Landed::Error(error) => Err(error),
        Landed::Refused(refusal) => Err(refusal.into_error()),
    }
}
