//! The protocol's requests, answered from the tools, the tasks and the resources.

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskMethod, CancelTaskParams,
    CompleteRequestMethod, CompleteRequestParams, CompleteResult, ConstString, CustomRequest, CustomResult,
    ErrorCode, ErrorData, GetTaskMethod, GetTaskParams, GetTaskResult, Implementation,
    ListPromptsRequestMethod, ListPromptsResult, ListResourceTemplatesRequestMethod,
    ListResourceTemplatesResult, ListResourcesRequestMethod, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ReadResourceRequestMethod, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool, UpdateTaskMethod,
    UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Map, Value};
use session_core::error::ErrorKind;
use tokio::time::Instant;

use crate::call::{Call, Stop};
use crate::core::Core;
use crate::failure::Failure;
use crate::tasks::{TaskId, extension};
use crate::wire::Arguments;
use crate::{instructions, resources, tools, watch};

/// One connection, or one request without one.
#[derive(Clone)]
pub(crate) struct Handler(pub(crate) Arc<Core>);

impl Handler {
    /// Runs a tool in a task of the server: what it began is brought to its end even when nobody waits for it.
    async fn run(
        &self,
        name: &str,
        arguments: Map<String, Value>,
        context: &RequestContext<RoleServer>,
    ) -> Answered {
        let Some(tool) = self.0.tools.get(name).cloned() else {
            return Answered::Unknown;
        };
        let Ok(permit) = self.0.calls.clone().try_acquire_owned() else {
            return Answered::Failed(Failure::of(
                ErrorKind::Busy,
                "too many calls run at once",
                "wait for some of them to end; start_task does not hold a call open",
            ));
        };
        let audience = context
            .meta
            .get_progress_token()
            .map(|token| (context.peer.clone(), token));
        let takes_tasks = context
            .client_capabilities()
            .is_some_and(|capabilities| capabilities.supports_tasks());
        let cancelled = context.ct.child_token();
        let call = Call::new(self.0.clone(), cancelled.clone(), takes_tasks, audience);
        // Whoever drops this future has given up.
        let given_up = cancelled.drop_guard();
        let work = self.0.tasks.spawn(async move {
            let _permit = permit;
            tool.run(arguments, &call).await
        });
        let answered = match work.await {
            Ok(Ok(value)) => Answered::Done(value),
            Ok(Err(Stop::Failed(failure))) => Answered::Failed(failure),
            Ok(Err(Stop::Handed(task))) => Answered::Handed(task),
            Err(died) => {
                tracing::error!(tool = name, error = %died, "a tool died");
                Answered::Failed(Failure::of(
                    ErrorKind::Internal,
                    "the tool died",
                    "this is a defect of the server; its log says more",
                ))
            }
        };
        given_up.disarm();
        answered
    }

    /// Whoever has nothing to do with sessions cannot read them by another way either.
    fn with_sessions<M: ConstString>(&self) -> Result<(), ErrorData> {
        if self.0.serves_sessions() {
            return Ok(());
        }
        Err(ErrorData::method_not_found::<M>())
    }

    /// A call for the tools and tasks that need one but belong to no tool.
    fn call(&self, context: &RequestContext<RoleServer>) -> Call {
        Call::new(self.0.clone(), context.ct.child_token(), true, None)
    }
}

/// What came of a call.
enum Answered {
    Done(Value),
    Failed(Failure),
    Handed(Box<rmcp::model::CreateTaskResult>),
    Unknown,
}

impl Answered {
    fn code(&self) -> &'static str {
        match self {
            Self::Done(_) => "ok",
            Self::Failed(failure) => failure.code(),
            Self::Handed(_) => "task",
            Self::Unknown => "unknown_tool",
        }
    }
}

/// The arguments of a call: those that came beside it, or in it where nobody took them out.
fn arguments(
    request: &mut CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<Map<String, Value>, ErrorData> {
    let parts = context.extensions.get::<hyper::http::request::Parts>();
    let beside = context
        .extensions
        .get::<Arguments>()
        .or_else(|| parts?.extensions.get::<Arguments>());
    match beside.and_then(Arguments::take_out) {
        Some(Value::Object(arguments)) => Ok(arguments),
        Some(Value::Null) => Ok(Map::new()),
        Some(_) => Err(ErrorData::invalid_params(
            "the arguments of a tool are an object",
            None,
        )),
        None => Ok(request.arguments.take().unwrap_or_default()),
    }
}

fn task_id(text: &str) -> Result<TaskId, ErrorData> {
    text.parse()
        .map_err(|failure: Failure| ErrorData::invalid_params(failure.text(), None))
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools();
        let capabilities = if self.0.serves_sessions() {
            let with_sessions = capabilities.enable_resources().enable_resources_list_changed();
            with_sessions.enable_tasks().build()
        } else {
            capabilities.build()
        };
        let implementation = Implementation::new("cofferdam", self.0.options.version.clone())
            .with_title("Cofferdam")
            .with_description("Coding agents in sealed containers");
        ServerConfig::new(capabilities)
            .with_server_info(implementation)
            .with_instructions(instructions::text(&self.0))
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::V_2026_07_28))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(
            self.0
                .tools
                .values()
                .map(|tool| tool.definition.clone())
                .collect(),
        ))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools.get(name).map(|tool| tool.definition.clone())
    }

    async fn call_tool(
        &self,
        mut request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let begun = Instant::now();
        let arguments = arguments(&mut request, &context)?;
        let answered = self.run(&request.name, arguments, &context).await;
        tracing::info!(
            tool = crate::text::head(&request.name, 64),
            outcome = answered.code(),
            elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            request = %context.id,
            tool_use = tool_use(&context),
            "tool call"
        );
        match answered {
            Answered::Done(value) => Ok(CallToolResult::structured(value).into()),
            Answered::Failed(failure) => Ok(failure.into_result().into()),
            Answered::Handed(task) => Ok((*task).into()),
            Answered::Unknown => {
                let name = crate::text::one_line(&request.name, 80);
                Err(ErrorData::invalid_params(format!("Unknown tool: {name}"), None))
            }
        }
    }

    /// The library would answer with an empty list although no prompts are declared.
    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    /// As with prompts.
    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.with_sessions::<GetTaskMethod>()?;
        extension::state(&self.0, &task_id(&request.task_id)?).await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.with_sessions::<UpdateTaskMethod>()?;
        extension::state(&self.0, &task_id(&request.task_id)?).await?;
        // No task of ours ever asks for input, so whatever was sent answers nothing; the extension wants that ignored.
        Ok(())
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.with_sessions::<CancelTaskMethod>()?;
        let task = task_id(&request.task_id)?;
        match tools::cancel(&self.call(&context), &task).await {
            Ok(_) => Ok(()),
            Err(Stop::Failed(failure)) => Err(extension::unknown(&task, &failure)),
            Err(Stop::Handed(_)) => Err(ErrorData::internal_error("cancelling is no task", None)),
        }
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.with_sessions::<ListResourcesRequestMethod>()?;
        resources::list(&self.0, request.and_then(|request| request.cursor)).await
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.with_sessions::<ListResourceTemplatesRequestMethod>()?;
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.with_sessions::<ReadResourceRequestMethod>()?;
        resources::read(&self.0, &request.uri).await.map(Into::into)
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut accepted = SubscriptionFilter::new();
        accepted.resources_list_changed = requested
            .resources_list_changed
            .filter(|_| self.0.serves_sessions());
        Some(accepted)
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        watch::serve(&self.0, subscription).await;
        Ok(())
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.0.tasks.spawn(watch::tell(self.0.clone(), context.peer));
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        // A known method arrives here when its parameters have another shape than it takes.
        const KNOWN: &[&str] = &[
            "tools/call",
            "tools/list",
            "resources/list",
            "resources/read",
            "resources/templates/list",
            "tasks/get",
            "tasks/cancel",
            "tasks/update",
        ];
        let method = crate::text::one_line(&request.method, 80);
        let handshakes = context
            .protocol_version()
            .is_none_or(|version| version.has_initialize());
        if KNOWN.contains(&request.method.as_str()) || (handshakes && request.method == "initialize") {
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

/// What the client calls this call, for the log.
fn tool_use(context: &RequestContext<RoleServer>) -> Option<&str> {
    let id = context.meta.get("claudecode/toolUseId")?.as_str()?;
    Some(crate::text::head(id, 128))
}
