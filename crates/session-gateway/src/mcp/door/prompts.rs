//! Prompts of servers, and what completes their arguments.

use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{
    ClientRequest, CompleteRequestParams, CompleteResult, ErrorData, GetPromptRequestParams,
    GetPromptResponse, Reference, Request, ResultType, ServerResult,
};
use rmcp::service::RequestContext;

use super::catalog::Target;
use super::core::Core;
use super::drive::{Landed, Trip, misfit};
use super::flight::Subject;
use super::names;
use super::outcome::Refusal;

/// Fetches a prompt from its server.
pub(super) async fn get(
    core: &Arc<Core>,
    request: GetPromptRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<GetPromptResponse, ErrorData> {
    const METHOD: &str = "prompts/get";
    let subject = Subject {
        method: METHOD,
        name: request.name.clone(),
    };
    let trip = Trip {
        core,
        context,
        subject,
    };
    let landed = if let Some(state) = &request.request_state {
        trip.resume(state, request.input_responses.as_ref()).await
    } else {
        let target = find(core, &request.name, context).await?;
        let mut params = GetPromptRequestParams::new(target.name);
        params.arguments = request.arguments;
        params.input_responses = request.input_responses;
        let request = ClientRequest::GetPromptRequest(Request::new(params));
        trip.begin(target.server, request, true).await
    };
    match landed {
        Landed::Answered(ServerResult::GetPromptResult(mut result)) => {
            result.result_type = Some(ResultType::COMPLETE);
            Ok(result.into())
        }
        Landed::Answered(_) => Err(misfit(METHOD)),
        Landed::Wants(wanted) => Ok(wanted.into()),
        Landed::Error(error) => Err(error),
        Landed::Refused(refusal) => Err(refusal.into_error()),
    }
}

async fn find(
    core: &Arc<Core>,
    name: &str,
    context: &RequestContext<RoleServer>,
) -> Result<Target, ErrorData> {
    if let Some(target) = core.catalog().prompt(name) {
        return Ok(target.clone());
    }
    let owner = names::split(name).and_then(|(server, _)| core.named(server));
    if let Some(owner) = owner {
        let offered = core.offered(owner, &context.ct).await;
        offered.map_err(|error| Refusal::of_call(&error).map_or_else(unknown, Refusal::into_error))?;
    }
    core.settled().await.prompt(name).cloned().ok_or_else(unknown)
}

fn unknown() -> ErrorData {
    ErrorData::invalid_params("there is no such prompt; list them again", None)
}

/// Completes an argument of a prompt, or a variable of a template.
pub(super) async fn complete(
    core: &Arc<Core>,
    mut request: CompleteRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CompleteResult, ErrorData> {
    const METHOD: &str = "completion/complete";
    let catalog = core.settled().await;
    let (server, name) = match &mut request.r#ref {
        Reference::Prompt(prompt) => {
            let target = catalog.prompt(&prompt.name).ok_or_else(unknown)?;
            (
                target.server,
                std::mem::replace(&mut prompt.name, target.name.clone()),
            )
        }
        Reference::Resource(template) => {
            let owner = catalog
                .template_owner(&template.uri)
                .or_else(|| catalog.owner(&template.uri));
            let gone =
                || ErrorData::invalid_params("no server of this session has this resource template", None);
            (owner.ok_or_else(gone)?, template.uri.clone())
        }
        _ => {
            return Err(ErrorData::invalid_params(
                "a reference of this kind is not known",
                None,
            ));
        }
    };
    if catalog
        .capabilities(server)
        .is_none_or(|can| can.completions.is_none())
    {
        return Ok(CompleteResult::default());
    }
    request.meta = None;
    let subject = Subject { method: METHOD, name };
    let request = ClientRequest::CompleteRequest(Request::new(request));
    match (Trip {
        core,
        context,
        subject,
    })
    .begin(server, request, false)
    .await
    {
        Landed::Answered(ServerResult::CompleteResult(mut result)) => {
            result.result_type = Some(ResultType::COMPLETE);
            Ok(result)
        }
        Landed::Answered(_) | Landed::Wants(_) => Err(misfit(METHOD)),
        Landed::Error(error) => Err(error),
        Landed::Refused(refusal) => Err(refusal.into_error()),
    }
}
