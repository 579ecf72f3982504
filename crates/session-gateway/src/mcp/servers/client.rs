//! What we are to a server: a client that passes its questions on to the session whose call they belong to.

#![expect(deprecated, reason = "servers of older revisions use sampling and roots")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientResult, CreateMessageRequest, CreateMessageRequestParams,
    CreateMessageResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationCapability, ErrorData,
    FormElicitationCapability, Implementation, ListRootsRequest, ListRootsResult, RootsCapabilities,
    SamplingCapability, ServerRequest, UrlElicitationCapability,
};
use rmcp::service::RequestContext;
use rmcp::{ClientHandler, RoleClient};
use tokio::sync::Semaphore;

use super::calls::Call;
use super::result::throughout;
use super::tap::Inlet;

/// Questions of one server that wait for sessions.
const ASKING: usize = 16;
/// The largest question: it may show a picture.
const MAX_QUESTION: usize = 4 << 20;

/// See the module. Made anew for each connection.
#[derive(Clone)]
pub(crate) struct Client {
    inlet: Arc<Inlet>,
    /// Whether the session may tell the server which directories to work in. Only a server inside the session: another
    /// would take an agent's word for what it may open on the host.
    roots: bool,
    asking: Arc<Semaphore>,
}

impl Client {
    pub(crate) fn new(inlet: Arc<Inlet>, roots: bool) -> Self {
        Self {
            inlet,
            roots,
            asking: Arc::new(Semaphore::new(ASKING)),
        }
    }

    /// Where what the server says on its way to us is taken to.
    pub(crate) fn inlet(&self) -> Arc<Inlet> {
        Arc::clone(&self.inlet)
    }

    async fn ask(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        let Ok(_place) = self.asking.try_acquire() else {
            return Err(refusal("too many questions wait for their answers"));
        };
        let Some(call) = self.inlet.calls.asked(context.extensions.get()) else {
            return Err(refusal("no call is under way that this can belong to"));
        };
        let _asking = Asking::new(&self.inlet, &call);
        tokio::select! {
            answer = call.caller.ask(request) => answer,
            () = context.ct.cancelled() => Err(refusal("the question was taken back")),
            () = call.over.cancelled() => Err(refusal("the call is over")),
        }
    }
}

/// While this lives the call is not silent: it waits for us.
struct Asking<'a> {
    inlet: &'a Inlet,
    call: &'a Call,
}

impl<'a> Asking<'a> {
    fn new(inlet: &'a Inlet, call: &'a Call) -> Self {
        call.asking.fetch_add(1, Ordering::Relaxed);
        Self { inlet, call }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.inlet.calls.heard_of(self.call);
        self.call.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

fn refusal(why: &'static str) -> ErrorData {
    ErrorData::invalid_request(why, None)
}

fn too_large() -> ErrorData {
    ErrorData::invalid_params("the question is too large", None)
}

fn no_answer() -> ErrorData {
    ErrorData::internal_error("the client answered something else", None)
}

impl ClientHandler for Client {
    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let params = throughout(&params, MAX_QUESTION).ok_or_else(too_large)?;
        let request = ServerRequest::CreateMessageRequest(CreateMessageRequest::new(params));
        match self.ask(request, context).await? {
            ClientResult::CreateMessageResult(result) => Ok(*result),
            _ => Err(no_answer()),
        }
    }

    async fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let params = throughout(&params, MAX_QUESTION).ok_or_else(too_large)?;
        let request = ServerRequest::ElicitRequest(ElicitRequest::new(params));
        match self.ask(request, context).await? {
            ClientResult::ElicitResult(result) => Ok(result),
            _ => Err(no_answer()),
        }
    }

    async fn list_roots(&self, context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        if !self.roots {
            return Err(ErrorData::method_not_found::<rmcp::model::ListRootsRequestMethod>());
        }
        match self
            .ask(
                ServerRequest::ListRootsRequest(ListRootsRequest::default()),
                context,
            )
            .await?
        {
            ClientResult::ListRootsResult(result) => Ok(result),
            _ => Err(no_answer()),
        }
    }

    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.sampling = Some(SamplingCapability::default());
        capabilities.elicitation = Some(
            ElicitationCapability::new()
                .with_form(FormElicitationCapability::default())
                .with_url(UrlElicitationCapability::default()),
        );
        capabilities.roots = self.roots.then(RootsCapabilities::default);
        ClientConfig::new(
            capabilities,
            Implementation::new("cofferdam", env!("CARGO_PKG_VERSION")),
        )
    }
}
