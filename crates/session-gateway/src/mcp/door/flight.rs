//! One request on its way to a server, apart from the connection on which it came.
//!
//! Since 2026-07-28 a call that needs the agent's input is answered with what is needed, and the client comes back with
//! it in another request. What was begun upstream has to wait meanwhile. So each request runs in a task of its own and
//! tells what happens as events; whoever holds the [`Flight`] drives it, and dropping it takes the request back.
//!
//! A server of that revision answers the same way; here that is turned into questions and another request, so that
//! whoever drives sees questions alone, whatever the server speaks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use rmcp::model::{
    ClientCapabilities, ClientRequest, ClientResult, EmptyObject, ErrorData, InputRequiredResult,
    InputResponses, ProgressNotificationParam, ServerRequest, ServerResult,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::asks::{self, Ask};
use super::http::Taken;
use super::upstream::Upstream;
use crate::mcp::call::{CallError, Caller, Failure, FailureCause};

/// Events that whoever drives may be behind. Progress beyond is dropped: only the newest says how far it is.
const EVENTS: usize = 64;
/// How often a server may want more input for one request.
const MAX_ROUNDS: u32 = 16;
/// Questions of one answer.
const MAX_ASKS: usize = 32;
/// How long a server may take to let go of a request that was taken back.
const GRACE: Duration = Duration::from_secs(5);

/// What happens to a request.
#[derive(Debug)]
pub(super) enum Event {
    /// It goes on.
    Progress(ProgressNotificationParam),
    /// The server asks the agent.
    Ask(Ask),
    /// It is over.
    Done(Result<ServerResult, CallError>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flight {
    events: mpsc::Receiver<Event>,
    /// Which of the session's servers.
    pub(super) server: usize,
    /// What a retry has to name to come back to it.
    pub(super) subject: Subject,
    over: bool,
    _taken_back: DropGuard,
    /// Its place among the calls of the session, and the room that its message takes.
    _held: (OwnedSemaphorePermit, Taken),
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) method: &'static str,
    /// The name or URI as the agent gave it.
    pub(super) name: String,
}

impl Flight {
    /// Sends a request. `able` is what the agent can be asked.
    pub(super) fn start(
        tasks: &TaskTracker,
        upstream: (usize, Arc<dyn Upstream>),
        request: ClientRequest,
        subject: Subject,
        able: ClientCapabilities,
        held: (OwnedSemaphorePermit, Taken),
    ) -> Self {
        let (server, upstream) = upstream;
        let (tell, events) = mpsc::channel(EVENTS);
        let cancelled = CancellationToken::new();
        let line = Arc::new(Line {
            events: tell.clone(),
            able,
            cancelled: cancelled.clone(),
        });
        tasks.spawn(async move {
            let abandoned = line.cancelled.clone();
            // Both arms only wait; a request that is dropped was taken back long enough ago.
            let outcome = tokio::select! {
                outcome = exchange(upstream.as_ref(), request, &line) => outcome,
                () = async { abandoned.cancelled().await; tokio::time::sleep(GRACE).await } => Err(CallError::Cancelled),
            };
            // Nobody may be left to hear it.
            let _ = tell.send(Event::Done(outcome)).await;
        });
        Self {
            events,
            server,
            subject,
            over: false,
            _taken_back: cancelled.drop_guard(),
            _held: held,
        }
    }

    /// What happens next. Cancel-safe. After the end, nothing ever does.
    pub(super) async fn next(&mut self) -> Event {
        if self.over {
            return std::future::pending().await;
        }
        let event = self.events.recv().await.unwrap_or_else(|| Event::Done(died()));
        self.over = matches!(event, Event::Done(_));
        event
    }
}

/// The task is gone without a word.
fn died() -> Result<ServerResult, CallError> {
    tracing::error!("a request to a server died");
    Err(CallError::Answered(ErrorData::internal_error(
        "the request died in the gateway and may have run; its log says more",
        None,
    )))
}

/// One request and its answer, with as many questions in between as the server has.
async fn exchange(
    upstream: &dyn Upstream,
    mut request: ClientRequest,
    line: &Arc<Line>,
) -> Result<ServerResult, CallError> {
    for round in 1..=MAX_ROUNDS {
        let caller: Arc<dyn Caller> = line.clone();
        let wanted = match upstream.request(request.clone(), caller).await? {
            ServerResult::InputRequiredResult(wanted) => wanted,
            other => return Ok(other),
        };
        let state = wanted.request_state.clone();
        let responses = answer(wanted, line).await.map_err(CallError::Answered)?;
        if responses.is_none() {
            // It only wants to be asked again, later.
            tokio::time::sleep(Duration::from_millis(250) * round).await;
        }
        if !renew(&mut request, responses, state) {
            break;
        }
    }
    Err(CallError::MayHaveRun(Failure {
        server: upstream.name().clone(),
        cause: FailureCause::Broken,
        detail: "it wants more input again and again, or for a request that takes none".to_owned(),
    }))
}

/// Asks the agent all that a server wants to know, at once.
async fn answer(wanted: InputRequiredResult, line: &Arc<Line>) -> Result<Option<InputResponses>, ErrorData> {
    let Some(inputs) = wanted.input_requests else {
        return Ok(None);
    };
    if inputs.len() > MAX_ASKS {
        return Err(ErrorData::internal_error(
            "the server asks too much at once",
            None,
        ));
    }
    let (mut possible, mut missing) = (Vec::new(), None::<asks::Missing>);
    for (key, input) in inputs {
        let request = asks::from_input(input).ok_or_else(|| {
            ErrorData::internal_error("the server asks for something that is not known", None)
        })?;
        match asks::judge(&request, &line.able) {
            Ok(()) => possible.push((key, request)),
            Err(cannot) => {
                missing = Some(match missing {
                    Some(missing) => missing.and(cannot),
                    None => cannot,
                });
            }
        }
    }
    // A server that does not look at what this agent can do may ask too much; it may do without.
    if let (true, Some(missing)) = (possible.is_empty(), missing) {
        return Err(missing.into_answer());
    }
    let asked = possible.into_iter().map(async |(key, request)| {
        let answer = line.put(request, Some(key.clone())).await?;
        let answer = serde_json::to_value(answer)
            .map_err(|_| ErrorData::internal_error("the answer cannot be passed on", None))?;
        Ok::<_, ErrorData>((key, answer))
    });
    let answered: Result<BTreeMap<_, _>, ErrorData> = join_all(asked).await.into_iter().collect();
    answered.map(Some)
}

/// Makes the request that brings the answers. Whether there is one.
fn renew(request: &mut ClientRequest, responses: Option<InputResponses>, state: Option<String>) -> bool {
    let (into_responses, into_state) = match request {
        ClientRequest::CallToolRequest(request) => (
            &mut request.params.input_responses,
            &mut request.params.request_state,
        ),
        ClientRequest::GetPromptRequest(request) => (
            &mut request.params.input_responses,
            &mut request.params.request_state,
        ),
        ClientRequest::ReadResourceRequest(request) => (
            &mut request.params.input_responses,
            &mut request.params.request_state,
        ),
        _ => return false,
    };
    *into_responses = responses;
    *into_state = state;
    true
}

/// The agent's side of a request, as the server's side sees it. Nothing in it waits for an agent that does not read,
/// but its own questions.
struct Line {
    events: mpsc::Sender<Event>,
    able: ClientCapabilities,
    cancelled: CancellationToken,
}

#[async_trait]
impl Caller for Line {
    async fn progress(&self, progress: ProgressNotificationParam) {
        // An agent that does not read loses it.
        let _ = self.events.try_send(Event::Progress(progress));
    }

    async fn ask(&self, request: ServerRequest) -> Result<ClientResult, ErrorData> {
        if matches!(request, ServerRequest::PingRequest(_)) {
            return Ok(ClientResult::EmptyResult(EmptyObject {}));
        }
        asks::judge(&request, &self.able).map_err(|missing| missing.to_server())?;
        self.put(request, None).await
    }

    fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }
}

impl Line {
    /// Puts a question to the agent and waits for its answer.
    async fn put(&self, request: ServerRequest, key: Option<String>) -> Result<ClientResult, ErrorData> {
        let gone = || ErrorData::internal_error("the client is gone", None);
        let (answer, answered) = oneshot::channel();
        let request = asks::clean(request);
        let asking = async {
            let asked = self.events.send(Event::Ask(Ask { request, key, answer })).await;
            asked.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        };
        // Both arms only wait; a question that is dropped is answered by nobody.
        tokio::select! {
            answered = asking => answered,
            () = self.cancelled.cancelled() => Err(gone()),
        }
    }
}
