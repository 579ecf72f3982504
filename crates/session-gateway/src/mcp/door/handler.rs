//! The protocol's requests, each to the server that it is for.
#![expect(
    deprecated,
    reason = "logging and subscriptions of earlier revisions are for the clients that speak them"
)]

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CustomRequest,
    CustomResult, ErrorCode, ErrorData, GetPromptRequestParams, GetPromptResponse, Implementation,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ServerConfig,
    SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::audience::is_modern;
use super::core::Core;
use super::seat::{self, Seat};
use super::{calls, instructions, levels, listen, outcome, prompts, resources, search, subscriptions};

/// Subscriptions of one client; of a longer list the first are taken.
pub(super) const MAX_SUBSCRIPTIONS: usize = 256;

/// Methods that arrive as unknown ones when their parameters have another shape than they take.
const KNOWN: [&str; 9] = [
    "completion/complete",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "subscriptions/listen",
    "tools/call",
    "tools/list",
];
/// Those of them that the newest revision took away.
const OLDER: [&str; 4] = [
    "initialize",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
];

/// One connection, or one request without one.
pub(super) struct Handler {
    pub(super) core: Arc<Core>,
    pub(super) seat: Arc<Seat>,
    _left: DropGuard,
}

impl Handler {
    pub(super) fn new(core: Arc<Core>, unheard: CancellationToken) -> Self {
        let seat = Arc::new(Seat::new(unheard));
        Self {
            core,
            _left: seat.over.clone().drop_guard(),
            seat,
        }
    }
}

/// Lists are one page, so nobody was ever given a cursor.
fn first_page(request: Option<PaginatedRequestParams>) -> Result<(), ErrorData> {
    match request.and_then(|request| request.cursor) {
        None => Ok(()),
        Some(_) => Err(ErrorData::invalid_params(
            "there is no such page: lists have one",
            None,
        )),
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let implementation = Implementation::new("cofferdam", self.core.version.clone())
            .with_title("Cofferdam")
            .with_description("MCP servers for a sealed session");
        ServerConfig::new(self.core.capabilities())
            .with_server_info(implementation)
            .with_instructions(instructions::compose(&self.core))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::V_2026_07_28))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        first_page(request)?;
        let catalog = self.core.settled().await;
        let tools = if self.core.searches(&catalog) {
            search::tools().to_vec()
        } else {
            catalog.tools.clone()
        };
        Ok(ListToolsResult::with_all_items(tools))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.core.catalog().tool(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        calls::call(&self.core, request, &context).await
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        first_page(request)?;
        let catalog = self.core.settled().await;
        Ok(ListPromptsResult::with_all_items(catalog.prompts.clone()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(&self.core, request, &context).await
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        prompts::complete(&self.core, request, &context).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        first_page(request)?;
        let catalog = self.core.settled().await;
        Ok(ListResourcesResult::with_all_items(catalog.resources.clone()))
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        first_page(request)?;
        let catalog = self.core.settled().await;
        Ok(ListResourceTemplatesResult::with_all_items(
            catalog.templates.clone(),
        ))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(&self.core, request, &context).await
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if self.seat.is_subscribed(&request.uri) {
            return Ok(());
        }
        if self.seat.subscriptions() >= MAX_SUBSCRIPTIONS {
            return Err(ErrorData::invalid_params("too many subscriptions", None));
        }
        let server = subscriptions::subscribe(&self.core, &request.uri).await?;
        if !self.seat.subscribed(&request.uri, server) {
            // Another request was faster.
            subscriptions::unsubscribe(&self.core, server, &request.uri).await;
        }
        seat::tell(&self.core, &self.seat, context.peer);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if let Some(server) = self.seat.unsubscribed(&request.uri) {
            subscriptions::unsubscribe(&self.core, server, &request.uri).await;
        }
        Ok(())
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_modern(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        self.seat.set_level(request.level);
        levels::set(&self.core, request.level);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = requested.clone();
        if let Some(uris) = &mut accepted.resource_subscriptions {
            uris.retain(|uri| uri.len() <= subscriptions::MAX_URI);
            uris.truncate(MAX_SUBSCRIPTIONS);
            uris.shrink_to_fit();
        }
        Some(accepted)
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        listen::serve(&self.core, subscription, &self.seat.unheard).await;
        Ok(())
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        seat::tell(&self.core, &self.seat, context.peer);
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = outcome::line(&request.method);
        let known = KNOWN.contains(&request.method.as_str());
        if known || (!is_modern(&context) && OLDER.contains(&request.method.as_str())) {
            return Err(ErrorData::invalid_params(
                format!("the parameters of {method} have the wrong shape"),
                None,
            ));
        }
        Err(ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            format!("there is no method {method}"),
            None,
        ))
    }
}
