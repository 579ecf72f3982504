//! A server as one session sees it.

#![expect(
    deprecated,
    reason = "agents of older revisions set levels and subscribe this way"
)]

use std::sync::Arc;
use std::time::Duration;

use mcp_catalog::{ServerDefinition, admits};
use rmcp::ErrorData;
use rmcp::model::{ClientRequest, ServerResult};
use session_core::id::SessionId;
use session_core::mcp::{ServerName, ServerState, ServerStatus};
use tokio::sync::broadcast;

use super::hub::{Change, Subscribed};
use super::instance::{Command, Instance, Wiring};
use super::live::{Live, Lost};
use super::offer::{Offer, is_idempotent};
use crate::mcp::call::{CallError, Caller, Failure};

/// How often a request that never leaves is tried.
const TRIES: u32 = 3;
/// How long to wait in between, unless the connection ends.
const AGAIN: Duration = Duration::from_millis(500);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    session: SessionId,
    own: bool,
    instance: Arc<Instance>,
    /// Only these tools of the session's servers, as `server__tool`; all when empty.
    tools: Vec<String>,
    wiring: Arc<Wiring>,
}

impl Server {
    pub(crate) fn new(
        session: SessionId,
        own: bool,
        instance: Arc<Instance>,
        tools: Vec<String>,
        wiring: Arc<Wiring>,
    ) -> Self {
        instance.hub.attach(session);
        Self(Arc::new(Inner {
            session,
            own,
            instance,
            tools,
            wiring,
        }))
    }

    pub(crate) fn name(&self) -> &ServerName {
        &self.0.instance.name
    }

    pub(crate) fn definition(&self) -> Arc<ServerDefinition> {
        self.0.instance.definition()
    }

    /// Whether the session brought it.
    pub(crate) fn is_own(&self) -> bool {
        self.0.own
    }

    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.0.instance
    }

    pub(crate) fn status(&self) -> ServerStatus {
        self.0.instance.status()
    }

    /// What it has, as far as is known.
    pub(crate) fn offer_if_known(&self) -> Option<Arc<Offer>> {
        self.0.instance.offer()
    }

    /// What changes from now on and concerns the session.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.instance.hub.changes(&self.0.session)
    }

    /// What it has: at once when that is known, otherwise it is started.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(crate) async fn offer(&self) -> Result<Arc<Offer>, CallError> {
        self.0.instance.offered().await.map_err(CallError::NotSent)
    }

    /// Sends it a request of the session and waits for the answer; starts it when need be. What was lost on the way is
    /// sent again only when it never left or may run twice.
    ///
    /// # Errors
    /// Why there is no answer, and whether it may have run.
    pub(crate) async fn request(
        &self,
        mut request: ClientRequest,
        caller: Arc<dyn Caller>,
    ) -> Result<ServerResult, CallError> {
        let cancelled = caller.cancelled();
        // What it may not have needs no server.
        tokio::select! {
            admitted = self.admit(&request) => admitted?,
            () = cancelled.cancelled() => return Err(CallError::Cancelled),
        };
        let subscribed = self.subscribed(&request)?;
        let answer = match self.keep_for_restart(&mut request).await? {
            Some(answer) => answer,
            None => self.send(request, &caller).await?,
        };
        if let Some(subscribed) = subscribed {
            subscribed.hold();
        }
        Ok(answer)
    }

    /// A subscription is known before the server is asked, which may tell at once, and forgotten when it is not made.
    fn subscribed(&self, request: &ClientRequest) -> Result<Option<Subscribed>, CallError> {
        let ClientRequest::SubscribeRequest(request) = request else {
            return Ok(None);
        };
        let Inner {
            session, instance, ..
        } = &*self.0;
        let subscribed = instance.hub.subscribe(session, &request.params.uri);
        let refused = || {
            let told = "there are too many subscriptions, or the address is too long";
            CallError::Answered(ErrorData::invalid_request(told, None))
        };
        subscribed.map(Some).ok_or_else(refused)
    }

    async fn send(
        &self,
        request: ClientRequest,
        caller: &Arc<dyn Caller>,
    ) -> Result<ServerResult, CallError> {
        let Inner {
            session,
            instance,
            wiring,
            ..
        } = &*self.0;
        let limits = &wiring.limits;
        let cancelled = caller.cancelled();
        let mut lost: Option<Failure> = None;
        let mut tries = 0;
        loop {
            let live = tokio::select! {
                live = instance.live() => live,
                () = cancelled.cancelled() => return Err(CallError::Cancelled),
            };
            let live = match (live, &lost) {
                (Ok(live), _) => live,
                (Err(failure), None) => return Err(CallError::NotSent(failure)),
                (Err(_), Some(lost)) => return Err(CallError::MayHaveRun(lost.clone())),
            };
            // It may have been started just now, and have shown something else than what was known of it.
            let again = match (self.admit(&request).await, &lost) {
                (Ok(again), _) => again,
                (Err(error), None) => return Err(error),
                (Err(_), Some(lost)) => return Err(CallError::MayHaveRun(lost.clone())),
            };
            let sent = live
                .send(request.clone(), (*session, caller), instance.times(), limits)
                .await;
            match sent {
                Ok(answer) => return Ok(answer),
                Err(Lost::Answered(error)) => return Err(CallError::Answered(error)),
                Err(Lost::Cancelled) => return Err(CallError::Cancelled),
                Err(Lost::Spoilt(failure)) => return Err(CallError::MayHaveRun(failure)),
                Err(Lost::UnderWay(failure)) if again && lost.is_none() => lost = Some(failure),
                Err(Lost::UnderWay(failure)) => return Err(CallError::MayHaveRun(failure)),
                Err(Lost::NeverLeft(failure)) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(lost.map_or(CallError::NotSent(failure), CallError::MayHaveRun));
                    }
                    // The end of a program is known a moment after its pipe broke; what is elsewhere may come back.
                    tokio::select! {
                        () = live.gone() => {}
                        () = tokio::time::sleep(AGAIN) => {}
                        () = cancelled.cancelled() => return Err(CallError::Cancelled),
                    }
                }
            }
        }
    }

    /// Whether the session may send this at all, and whether it may be sent twice.
    async fn admit(&self, request: &ClientRequest) -> Result<bool, CallError> {
        let ClientRequest::CallToolRequest(call) = request else {
            return Ok(true);
        };
        let name = call.params.name.as_ref();
        let offer = self.offer().await?;
        let definition = self.definition();
        let allowed = definition.tools.admits(name) && admits(&self.0.tools, self.name(), name);
        match offer.tool(name) {
            Some(tool) if allowed => Ok(is_idempotent(tool, &definition)),
            _ if allowed && offer.is_held(name) => Err(held(self.name(), name)),
            // It has nothing any more, and says why.
            _ if self.status().state == ServerState::Removed => {
                let gone = self.0.instance.live().await;
                Err(gone.map_or_else(CallError::NotSent, |_| unknown(self.name())))
            }
            _ => Err(unknown(self.name())),
        }
    }

    /// Keeps what has to be told to a server that is started again. The answer, when the server need not be asked.
    async fn keep_for_restart(&self, request: &mut ClientRequest) -> Result<Option<ServerResult>, CallError> {
        let Inner {
            session, instance, ..
        } = &*self.0;
        let done = Ok(Some(ServerResult::empty(())));
        match request {
            ClientRequest::SetLevelRequest(request) => {
                instance.hub.set_level(session, request.params.level);
                // Of a shared server all sessions want to hear enough.
                request.params.level = instance.hub.level().unwrap_or(request.params.level);
                let logs = |live: &Live| live.info.capabilities.logging.is_some() && !is_modern(live);
                let asked = instance.connected().is_some_and(|live| logs(&live));
                if asked { Ok(None) } else { done }
            }
            ClientRequest::SubscribeRequest(_) => match instance.live().await {
                Ok(live) if is_modern(&live) => self.listen().await,
                Ok(_) => Ok(None),
                Err(failure) => Err(CallError::NotSent(failure)),
            },
            ClientRequest::UnsubscribeRequest(request) => {
                let last = instance.hub.unsubscribe(session, &request.params.uri);
                match instance.connected().filter(|_| last) {
                    Some(live) if is_modern(&live) => self.listen().await,
                    Some(_) => Ok(None),
                    None => done,
                }
            }
            _ => Ok(None),
        }
    }

    /// Servers of the revision without a handshake are not told of each subscription, they are listened to.
    async fn listen(&self) -> Result<Option<ServerResult>, CallError> {
        self.0.instance.tell(Command::Listen).await;
        Ok(Some(ServerResult::empty(())))
    }
}

fn is_modern(live: &Live) -> bool {
    !live.info.protocol_version.has_initialize()
}

fn unknown(server: &ServerName) -> CallError {
    CallError::Answered(ErrorData::invalid_params(
        format!("the MCP server {server} has no tool of this name for this session"),
        None,
    ))
}

fn held(server: &ServerName, tool: &str) -> CallError {
    CallError::Answered(ErrorData::invalid_params(
        format!(
            "the tool {tool} of the MCP server {server} is held: it is new or has changed since it was approved. A person can \
             look at it and approve it with `cofferdam mcp approve {server}`."
        ),
        None,
    ))
}
