//! A server that is up, and one request to it: sent once, watched until it is answered, taken back when nobody waits or
//! the server is silent for too long.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mcp_catalog::Times;
use rmcp::RoleClient;
use rmcp::model::{
    ClientRequest, ErrorData, GetExtensions, GetMeta, ProgressNotificationParam, ProgressToken, RequestId,
    ServerPeerInfo, ServerResult,
};
use rmcp::service::{Peer, PeerRequestOptions, RequestHandle, ServiceError};
use session_core::id::SessionId;
use session_core::mcp::ServerName;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::calls::{Calls, Entered, Marked, Unsent};
use super::clean::{Text, clean_cut};
use super::connect::Connect;
use super::result::{clean_error, clean_result, size};
use crate::mcp::call::{Caller, Failure, FailureCause};
use crate::mcp::config::McpLimits;

/// The longest message beside a number of progress.
const MAX_NOTE: usize = 1024;
/// How long a caller may take to take a report.
const UNREAD: Duration = Duration::from_secs(1);
/// How long to wait for the reason of an end that is known.
const REASON: Duration = Duration::from_secs(2);
/// Fields of a request's metadata that are between us and the server: the session's own would contradict them.
const OURS: [&str; 3] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The server refused it.
    Answered(ErrorData),
    /// It never reached the server.
    NeverLeft(Failure),
    /// The connection broke while it was under way.
    UnderWay(Failure),
    /// The server did not answer in time, or answered nonsense.
    Spoilt(Failure),
    /// The caller took it back.
    Cancelled,
}

/// What the owner of a connection is told by those who use it.
#[derive(Debug)]
pub(crate) enum Word {
    /// Nobody waits for this request any more.
    Abandoned(RequestId),
    /// It did not answer in time.
    Suspect,
    /// A call succeeded for the first time.
    Proved,
}

/// See the module.
pub(crate) struct Live {
    pub(crate) name: ServerName,
    pub(crate) peer: Peer<RoleClient>,
    pub(crate) info: Arc<ServerPeerInfo>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) words: mpsc::Sender<Word>,
    pub(crate) connect: Arc<dyn Connect>,
    end: OnceLock<Failure>,
    gone: CancellationToken,
}

impl Live {
    pub(crate) fn new(
        name: ServerName,
        peer: Peer<RoleClient>,
        info: Arc<ServerPeerInfo>,
        calls: Arc<Calls>,
        words: mpsc::Sender<Word>,
        connect: Arc<dyn Connect>,
    ) -> Self {
        Self {
            name,
            peer,
            info,
            calls,
            words,
            connect,
            end: OnceLock::new(),
            gone: CancellationToken::new(),
        }
    }

    /// It is over; those who wait for answers are told why.
    pub(crate) fn end(&self, why: Failure) {
        self.calls.close();
        // The first reason is the reason.
        drop(self.end.set(why));
        self.gone.cancel();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Waits until it has ended.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    fn failure(&self, cause: FailureCause, detail: impl Into<String>) -> Failure {
        Failure {
            server: self.name.clone(),
            cause,
            detail: detail.into(),
        }
    }

    /// Why it ended, when it did.
    async fn reason(&self) -> Failure {
        let known = tokio::time::timeout(REASON, self.gone.cancelled()).await;
        match (known, self.end.get()) {
            (Ok(()), Some(why)) => why.clone(),
            _ => self.failure(FailureCause::Ended, "the connection ended"),
        }
    }

    /// Sends a request and waits for its answer, with the definition's patience.
    pub(crate) async fn send(
        &self,
        request: ClientRequest,
        from: (SessionId, &Arc<dyn Caller>),
        times: Times,
        limits: &McpLimits,
    ) -> Result<ServerResult, Lost> {
        let (session, caller) = from;
        let Some(entered) = self.calls.enter(session, Arc::clone(caller)) else {
            return Err(Lost::NeverLeft(
                self.failure(FailureCause::Ended, "it is being stopped"),
            ));
        };
        let Some(room) = self.calls.room(size(&request)) else {
            // Nobody may be left who waits for long enough to find out whether it lives.
            drop(self.words.try_send(Word::Suspect));
            let told = "it does not read what it was asked before";
            return Err(Lost::NeverLeft(self.failure(FailureCause::Silent, told)));
        };
        let kind = Kind::of(&request);
        let mut wait = Waiting::new(self, entered, &request, times);
        let request = prepare(request, &wait.entered, room);
        let answer = match wait.answer(request).await {
            Ok(answer) => answer,
            // Whoever can say no has not been of any use yet.
            Err(Lost::Answered(error)) => {
                return Err(Lost::Answered(clean_error(error, limits.max_result)));
            }
            Err(lost) => return Err(lost),
        };
        // What is no answer is worse than none: it was done, and nobody knows what.
        let spoilt = || Lost::Spoilt(self.failure(FailureCause::Broken, "it answered what was not asked"));
        let answer = kind.admit(answer).ok_or_else(spoilt)?;
        let answer = clean_result(answer, limits.max_result).ok_or_else(spoilt)?;
        self.proved();
        Ok(answer)
    }

    /// The first answer is told, others are known by then.
    fn proved(&self) {
        if !self.calls.is_proved() {
            self.calls.proved();
            drop(self.words.try_send(Word::Proved));
        }
    }

    /// A request of our own: listing, a health check, what a session left behind.
    pub(crate) async fn ask(&self, request: ClientRequest) -> Result<ServerResult, ServiceError> {
        let handle = self
            .peer
            .send_request_with_option(request, PeerRequestOptions::no_options())
            .await?;
        let mut abandoned = Abandoned {
            words: &self.words,
            id: Some(handle.id.clone()),
        };
        let answer = handle.await_response().await;
        abandoned.id = None;
        answer
    }
}

/// Marks the request and takes out of it what is not the session's to say.
fn prepare(mut request: ClientRequest, entered: &Entered, room: Unsent) -> ClientRequest {
    let meta = request.get_meta_mut();
    for field in OURS {
        meta.remove(field);
    }
    let extensions = request.extensions_mut();
    extensions.insert(Marked(Arc::clone(&entered.call)));
    extensions.insert(room);
    request
}

/// Tells the owner to take a request back when it is dropped before the answer.
struct Abandoned<'a> {
    words: &'a mpsc::Sender<Word>,
    id: Option<RequestId>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            // A full queue: so many are taken back that this one is not missed.
            drop(self.words.try_send(Word::Abandoned(id)));
        }
    }
}

/// One request under way.
struct Waiting<'a> {
    live: &'a Live,
    entered: Entered,
    times: Times,
    begun: Instant,
    /// The caller's token of progress, when it wants to know.
    token: Option<ProgressToken>,
    cancelled: CancellationToken,
}

impl<'a> Waiting<'a> {
    fn new(live: &'a Live, entered: Entered, request: &ClientRequest, times: Times) -> Self {
        Self {
            live,
            cancelled: entered.call.caller.cancelled(),
            entered,
            times,
            begun: Instant::now(),
            token: request.get_meta().get_progress_token(),
        }
    }

    async fn answer(&mut self, request: ClientRequest) -> Result<ServerResult, Lost> {
        let live = self.live;
        let sending = live
            .peer
            .send_request_with_option(request, PeerRequestOptions::no_options());
        tokio::pin!(sending);
        let handle = loop {
            // Every arm may be dropped: what was not sent is not sent, and time goes on by itself.
            tokio::select! {
                sent = &mut sending => match sent {
                    Ok(handle) => break handle,
                    Err(error) => return Err(self.lost(error).await),
                },
                () = self.cancelled.cancelled() => return Err(Lost::Cancelled),
                () = tokio::time::sleep(self.patience()) => self.judge()?,
            }
        };
        let mut abandoned = Abandoned {
            words: &live.words,
            id: Some(handle.id.clone()),
        };
        let answer = self.watch(handle).await;
        if !matches!(answer, Err(Lost::Cancelled | Lost::Spoilt(_))) {
            abandoned.id = None;
        }
        answer
    }

    async fn watch(&mut self, mut handle: RequestHandle<RoleClient>) -> Result<ServerResult, Lost> {
        loop {
            let patience = self.patience();
            // Every arm may be dropped: both receivers keep what they have, and time goes on by itself.
            tokio::select! {
                biased;
                answer = &mut handle.rx => {
                    // What was reported before the answer is passed on before it.
                    while let Ok(report) = self.entered.reports.try_recv() {
                        self.report(report).await?;
                    }
                    return match answer.unwrap_or(Err(ServiceError::TransportClosed)) {
                        Ok(result) => Ok(result),
                        Err(error) => Err(self.lost(error).await),
                    };
                }
                () = self.cancelled.cancelled() => return Err(Lost::Cancelled),
                Some(report) = self.entered.reports.recv() => {
                    self.report(report).await?;
                    // Who always has something to report is judged as well.
                    self.judge()?;
                }
                () = self.live.gone.cancelled() => {
                    return Err(self.lost(ServiceError::TransportClosed).await);
                }
                () = tokio::time::sleep(patience) => self.judge()?,
            }
        }
    }

    async fn report(&self, mut report: ProgressNotificationParam) -> Result<(), Lost> {
        let Some(token) = &self.token else { return Ok(()) };
        report.progress_token = token.clone();
        report.meta = None;
        report.message = report.message.map(|note| clean_cut(&note, Text::Line, MAX_NOTE));
        tokio::select! {
            () = self.entered.call.caller.progress(report) => Ok(()),
            () = self.cancelled.cancelled() => Err(Lost::Cancelled),
            // Who does not take it does not need it.
            () = tokio::time::sleep(UNREAD) => Ok(()),
        }
    }

    /// How long it may still take, as things stand.
    fn patience(&self) -> Duration {
        let silent = self.live.calls.silent_on(&self.entered.call);
        let quiet = Duration::from_millis(self.times.call_ms).saturating_sub(silent);
        let whole = Duration::from_millis(self.times.call_max_ms).saturating_sub(self.begun.elapsed());
        // Never nothing: a timer that is due at once would spin.
        quiet.min(whole).max(Duration::from_millis(1))
    }

    /// Whether time is up.
    fn judge(&self) -> Result<(), Lost> {
        let live = self.live;
        let silent = live.calls.silent_on(&self.entered.call);
        let detail = if self.begun.elapsed() >= Duration::from_millis(self.times.call_max_ms) {
            format!("no answer within {} s", self.times.call_max_ms.div_ceil(1000))
        } else if silent >= Duration::from_millis(self.times.call_ms) {
            format!(
                "neither progress nor an answer within {} s",
                self.times.call_ms.div_ceil(1000)
            )
        } else {
            return Ok(());
        };
        // A full queue has such a word in it already, or is about to be emptied.
        drop(live.words.try_send(Word::Suspect));
        let failure = live.failure(FailureCause::Silent, detail);
        Err(if self.entered.call.has_left() {
            Lost::Spoilt(failure)
        } else {
            Lost::NeverLeft(failure)
        })
    }

    async fn lost(&self, error: ServiceError) -> Lost {
        let left = self.entered.call.has_left() && !self.live.connect.never_left(&error);
        let failure = match error {
            ServiceError::McpError(error) => return Lost::Answered(error),
            ServiceError::TransportClosed => self.live.reason().await,
            ServiceError::TransportSend(error) if self.live.has_ended() => {
                tracing::debug!(%error, "a request could not be sent");
                self.live.reason().await
            }
            ServiceError::TransportSend(error) => {
                tracing::debug!(%error, "a request could not be sent");
                self.live.failure(FailureCause::Ended, "it cannot be reached")
            }
            _ => return Lost::Spoilt(self.live.failure(FailureCause::Broken, "it broke the protocol")),
        };
        if left {
            Lost::UnderWay(failure)
        } else {
            Lost::NeverLeft(failure)
        }
    }
}

/// What may answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tool,
    Prompt,
    Resource,
    Completion,
    /// Anything: that there is an answer is all of it.
    Nothing,
}

impl Kind {
    fn of(request: &ClientRequest) -> Self {
        match request {
            ClientRequest::CallToolRequest(_) => Self::Tool,
            ClientRequest::GetPromptRequest(_) => Self::Prompt,
            ClientRequest::ReadResourceRequest(_) => Self::Resource,
            ClientRequest::CompleteRequest(_) => Self::Completion,
            _ => Self::Nothing,
        }
    }

    fn admit(self, answer: ServerResult) -> Option<ServerResult> {
        let fits = match (self, &answer) {
            (Self::Nothing, _) => return Some(ServerResult::empty(())),
            (Self::Tool, ServerResult::CallToolResult(_))
            | (Self::Prompt, ServerResult::GetPromptResult(_))
            | (Self::Resource, ServerResult::ReadResourceResult(_))
            | (Self::Completion, ServerResult::CompleteResult(_))
            | (Self::Tool | Self::Prompt | Self::Resource, ServerResult::InputRequiredResult(_)) => true,
            _ => false,
        };
        fits.then_some(answer)
    }
}
