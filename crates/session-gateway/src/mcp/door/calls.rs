//! Calls of tools: found, judged, sent to their server, and told of in the log.

use std::sync::Arc;
use std::time::Instant;

use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientRequest, ErrorData, JsonObject, Request,
    ResultType, ServerResult,
};
use rmcp::service::RequestContext;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::catalog::{Catalog, Found, Target};
use super::core::Core;
use super::drive::{Landed, Trip, misfit};
use super::flight::Subject;
use super::outcome::{self, Refusal};
use super::{names, search};

const METHOD: &str = "tools/call";

/// Answers one call.
pub(super) async fn call(
    core: &Arc<Core>,
    request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let begun = Instant::now();
    let name = outcome::line(&request.name);
    let (answered, outcome) = match answer(core, request, context).await {
        Ok((answered, outcome)) => (Ok(answered), outcome),
        Err(error) => (Err(error), "error"),
    };
    tracing::info!(
        tool = %name,
        outcome,
        elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        request = %outcome::line(&context.id.to_string()),
        tool_use = tool_use(context),
        "tool call"
    );
    answered
}

/// What the client calls this call, for the log.
fn tool_use(context: &RequestContext<RoleServer>) -> Option<&str> {
    let id = context.meta.get("claudecode/toolUseId")?.as_str()?;
    Some(&id[..id.floor_char_boundary(128)])
}

type Answered = Result<(CallToolResponse, &'static str), ErrorData>;

async fn answer(
    core: &Arc<Core>,
    mut request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Answered {
    let subject = Subject {
        method: METHOD,
        name: request.name.clone().into_owned(),
    };
    let trip = Trip {
        core,
        context,
        subject,
    };
    if let Some(state) = &request.request_state {
        let landed = trip.resume(state, request.input_responses.as_ref()).await;
        return response(landed);
    }
    let catalog = core.catalog();
    if core.searches(&catalog) || catalog.tool(&request.name).is_none() {
        match request.name.as_ref() {
            search::SEARCH => return Ok(searched(core, request.arguments).await),
            search::CALL => match arguments::<search::Called>(search::CALL, request.arguments.take()) {
                Ok(called) => {
                    request.name = called.name.into();
                    request.arguments = called.arguments;
                }
                Err(refusal) => return Ok(refused(refusal)),
            },
            _ => {}
        }
    }
    let target = match find(core, catalog, &request.name, &context.ct).await {
        Ok(target) => target,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let mut params = CallToolRequestParams::new(target.name);
    params.arguments = request.arguments;
    // Nothing of ours waits for them; a server that keeps no state may know what they are.
    params.input_responses = request.input_responses;
    let request = ClientRequest::CallToolRequest(Request::new(params));
    response(trip.begin(target.server, request, true).await)
}

/// To whom a name leads, after whoever could have it was asked what it offers.
async fn find(
    core: &Arc<Core>,
    mut catalog: Arc<Catalog>,
    name: &str,
    taken_back: &CancellationToken,
) -> Result<Target, Refusal> {
    if matches!(catalog.find(name), Found::Unknown) && !catalog.is_complete() {
        let owner = names::split(name).and_then(|(server, _)| core.named(server));
        if let Some(owner) = owner {
            // Starting it may take a while; the call would have to wait for that anyway.
            let offered = core.offered(owner, taken_back).await;
            offered.map_err(|error| {
                Refusal::of_call(&error)
                    .unwrap_or_else(|| Refusal::unknown_tool(name, core.searches(&catalog)))
            })?;
            catalog = core.catalog();
        } else {
            catalog = core.settled().await;
        }
    }
    match catalog.find(name) {
        Found::Tool(target) => Ok(target.clone()),
        Found::Held(server) => Err(match core.servers.get(server) {
            Some(server) => Refusal::held(name, server.name()),
            None => Refusal::filtered(name),
        }),
        Found::Filtered => Err(Refusal::filtered(name)),
        Found::Unknown if core.is_filtered(name) => Err(Refusal::filtered(name)),
        Found::Unknown => Err(Refusal::unknown_tool(name, core.searches(&catalog))),
    }
}

async fn searched(core: &Arc<Core>, given: Option<JsonObject>) -> (CallToolResponse, &'static str) {
    let query = match arguments::<search::Query>(search::SEARCH, given) {
        Ok(query) => query,
        Err(refusal) => return refused(refusal),
    };
    let catalog = core.settled().await;
    (search::search(&catalog, &core.servers, &query).into(), "ok")
}

fn arguments<T: DeserializeOwned>(tool: &str, given: Option<JsonObject>) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(given.unwrap_or_default()))
        .map_err(|error| Refusal::invalid(tool, &error))
}

fn refused(refusal: Refusal) -> (CallToolResponse, &'static str) {
    let code = refusal.code;
    (refusal.into_result().into(), code)
}

fn response(landed: Landed) -> Answered {
    match landed {
        Landed::Answered(result) => {
            let result = read(result)?;
            let outcome = if result.is_error == Some(true) {
                "tool_error"
            } else {
                "ok"
            };
            Ok((result.into(), outcome))
        }
        Landed::Wants(wanted) => Ok((wanted.into(), "input_required")),
        Landed::Error(error) => Err(error),
        Landed::Refused(refusal) => Ok(refused(refusal)),
    }
}

/// The library reads results by their shape, and takes one without any content for something else.
fn read(result: ServerResult) -> Result<CallToolResult, ErrorData> {
    match result {
        ServerResult::CallToolResult(mut result) => {
            result.result_type = Some(ResultType::COMPLETE);
            Ok(result)
        }
        ServerResult::EmptyResult(_) | ServerResult::TaskAckResult(_) => {
            Ok(CallToolResult::success(Vec::new()))
        }
        _ => Err(misfit(METHOD)),
    }
}
