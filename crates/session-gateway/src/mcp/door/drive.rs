//! Brings one request to its end: tells its audience what happens, and lets the agent be asked.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use rmcp::RoleServer;
use rmcp::model::{
    ClientCapabilities, ClientRequest, ErrorData, GetExtensions, GetMeta, InputRequiredResult,
    InputResponses, RequestMetaObject, ServerResult,
};
use rmcp::service::RequestContext;
use tokio_util::sync::CancellationToken;

use super::asks::Ask;
use super::audience::{Audience, abilities, is_modern};
use super::core::Core;
use super::flight::{Event, Flight, Subject};
use super::held::{Lost, Waiting};
use super::http::Taken;
use super::levels;
use super::logs::RequestLogs;
use super::outcome::Refusal;
use crate::mcp::call::CallError;

/// How long questions that come together may be apart.
const TOGETHER: Duration = Duration::from_millis(2);
/// How long it may take to take questions back.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Events that are looked at for more of them.
const MOST_TOGETHER: usize = 64;

/// Fields of a request's metadata that say how the agent speaks with us.
const OURS: [&str; 3] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];

/// What became of a request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a request, and most hold an answer"
)]
pub(super) enum Landed {
    /// The server's answer.
    Answered(ServerResult),
    /// The agent is asked first.
    Wants(InputRequiredResult),
    /// The server answered with an error, or nobody waits any more.
    Error(ErrorData),
    /// There is no answer, and why.
    Refused(Refusal),
}

/// A request as it came.
pub(super) struct Trip<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) context: &'a RequestContext<RoleServer>,
    pub(super) subject: Subject,
}

impl Trip<'_> {
    /// Sends a request to one of the servers, and drives it. `may_want` says whether its result can want more input.
    pub(super) async fn begin(self, server: usize, mut request: ClientRequest, may_want: bool) -> Landed {
        if let Some(level) = self.context.meta.log_level() {
            levels::tell(self.core, server, level).await;
        }
        *request.get_meta_mut() = meta(self.context);
        let Some(place) = self.core.place() else {
            return Landed::Refused(Refusal::busy());
        };
        let upstream = match self.core.server(server) {
            Ok(upstream) => upstream,
            Err(error) => return Landed::Error(error),
        };
        let able = if may_want || !is_modern(self.context) {
            abilities(self.context)
        } else {
            ClientCapabilities::default()
        };
        // For a server that wants to know with each request what it may ask for.
        request.extensions_mut().insert(able.clone());
        let subject = self.subject.clone();
        let held = (place, Taken::by(self.context));
        let flight = Flight::start(&self.core.tasks, upstream, request, subject, able, held);
        self.drive(Waiting::new(flight)).await
    }

    /// Goes on with a request for which the agent comes back.
    pub(super) async fn resume(self, state: &str, responses: Option<&InputResponses>) -> Landed {
        match self.core.held.resume(state, &self.subject, responses) {
            Ok(waiting) if waiting.is_answered() => self.drive(waiting).await,
            // Something was left out: it is asked for again.
            Ok(waiting) => self.hold(waiting),
            Err(Lost::Unknown) => Landed::Error(Refusal::unknown_state().into_error()),
            Err(Lost::Misshapen(key)) => {
                let key = super::outcome::line(&key);
                let what =
                    format!("inputResponses.{key} is no answer to what was asked; send the request again");
                Landed::Error(ErrorData::invalid_params(what, None))
            }
        }
    }

    async fn drive(self, waiting: Waiting) -> Landed {
        if is_modern(self.context) {
            self.drive_modern(waiting).await
        } else {
            self.drive_legacy(waiting).await
        }
    }

    /// Requests to the client, on the stream of its own request.
    async fn drive_legacy(self, mut waiting: Waiting) -> Landed {
        let mut audience = Audience::new(self.context);
        let over = CancellationToken::new();
        let mut asking: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut beats = self.beats();
        let landed = loop {
            // Each arm only waits: events stay where they are, and questions go on in the next round.
            tokio::select! {
                event = waiting.flight().next() => match event {
                    Event::Progress(progress) => {
                        beats.reset();
                        audience.progress(progress).await;
                    }
                    Event::Ask(Ask { request, answer, .. }) => {
                        let asked = audience.ask(request, over.clone());
                        asking.push(Box::pin(async move {
                            let _ = answer.send(asked.await);
                        }));
                    }
                    Event::Done(outcome) => break landed(outcome),
                },
                Some(()) = asking.next() => {}
                _ = beats.tick() => audience.heartbeat().await,
                () = audience.gone() => break taken_back(),
            }
        };
        over.cancel();
        let answered = async { while asking.next().await.is_some() {} };
        // A client that does not read is not told.
        let _ = tokio::time::timeout(LAST_WORDS, answered).await;
        landed
    }

    /// A result that says what is wanted; the client comes back with it.
    async fn drive_modern(self, mut waiting: Waiting) -> Landed {
        let mut audience = Audience::new(self.context);
        let mut logs = RequestLogs::new(self.core, self.context, waiting.flight().server);
        let mut beats = self.beats();
        loop {
            // As above.
            tokio::select! {
                event = waiting.flight().next() => match event {
                    Event::Progress(progress) => {
                        beats.reset();
                        audience.progress(progress).await;
                    }
                    Event::Ask(ask) => {
                        waiting.add(ask);
                        match collect(&mut waiting).await {
                            Some(outcome) => return landed(outcome),
                            None => return self.hold(waiting),
                        }
                    }
                    Event::Done(outcome) => {
                        logs.flush(&audience).await;
                        return landed(outcome);
                    }
                },
                news = logs.next() => logs.tell(news, &audience).await,
                _ = beats.tick() => audience.heartbeat().await,
                () = audience.gone() => return taken_back(),
            }
        }
    }

    fn hold(&self, waiting: Waiting) -> Landed {
        match self.core.held.hold(waiting) {
            Some(wanted) => {
                self.core.keep_swept();
                Landed::Wants(wanted)
            }
            None => Landed::Refused(Refusal::busy()),
        }
    }

    fn beats(&self) -> tokio::time::Interval {
        let period = self.core.options.heartbeat;
        let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beats
    }
}

/// What goes with a request to its server: all that came with it, but for what is between the agent and us.
fn meta(context: &RequestContext<RoleServer>) -> RequestMetaObject {
    let mut meta = context.meta.clone();
    for field in OURS {
        meta.remove(field);
    }
    meta
}

/// Takes in the questions that come with the first one. The end of the request, should it come instead.
async fn collect(waiting: &mut Waiting) -> Option<Result<ServerResult, CallError>> {
    for _ in 0..MOST_TOGETHER {
        match tokio::time::timeout(TOGETHER, waiting.flight().next()).await {
            Ok(Event::Ask(ask)) => waiting.add(ask),
            Ok(Event::Done(outcome)) => return Some(outcome),
            Ok(Event::Progress(_)) => {}
            Err(_) => break,
        }
    }
    None
}

fn landed(outcome: Result<ServerResult, CallError>) -> Landed {
    match outcome {
        Ok(result) => Landed::Answered(result),
        Err(error) => match (Refusal::of_call(&error), error) {
            (Some(refusal), _) => Landed::Refused(refusal),
            (None, CallError::Answered(error)) => Landed::Error(error),
            (None, _) => taken_back(),
        },
    }
}

/// Nobody hears it.
fn taken_back() -> Landed {
    Landed::Error(ErrorData::internal_error("the request was taken back", None))
}

/// What a server answered is no answer to what it was asked.
pub(super) fn misfit(method: &str) -> ErrorData {
    tracing::warn!(method, "a server answered with a result of another request");
    ErrorData::internal_error("the server's answer does not fit the request", None)
}
