//! One request's way: decided about, let out, sent to a provider, perhaps to another one, and its answer taken back.
//!
//! ```text
//!  admit ──▶ key? ──▶ turn? ──▶ send ──▶ judge ──▶ answer
//!                                ▲         │
//!                                └── again, elsewhere, or with a new key: while the body is held
//! ```

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use session_core::gateway::DoorEvent;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::accounts::ModelName;
use super::body::{AnswerBody, BodyFault, Leftover, RequestBody};
use super::config::Limits;
use super::dialect::Dialect;
use super::exchange::{Exchange, Outlook};
use super::headers;
use super::held::{Held, Loan, Memory, Unkept, Whole};
use super::policy::{self, Route, Target};
use super::provider::{Key, Lineup, Provider};
use super::redact::Redactor;
use super::refusal::{Refusal, SHOULD_RETRY, probe_response, should_retry};
use super::retry::{self, Attempts, Next, RetryPolicy, Trouble};
use super::session::Session;
use super::upstream::Upstream;
use super::usage::UsageTap;

/// What forwards.
pub(super) struct Forwarder {
    pub(super) upstream: Upstream,
    pub(super) limits: Limits,
    pub(super) retry: RetryPolicy,
    pub(super) memory: Memory,
}

/// What the policy let pass.
enum Admitted {
    /// Answered here.
    Probe,
    /// To be sent on.
    Request(Target, OwnedSemaphorePermit),
}

/// What is the same in every attempt.
struct Head {
    method: Method,
    target: Target,
    headers: HeaderMap,
}

/// Why there is no answer.
enum Stopped {
    /// Nothing was sent.
    Refused(Refusal, Incoming),
    /// It was sent, and what is left of its body, if it was not read.
    Failed(Refusal, Option<Incoming>),
}

/// What came of sending, and the right to send again.
struct Sent {
    result: Result<Response<Incoming>, Refusal>,
    body: Option<Loan>,
}

impl Sent {
    fn refused(refusal: Refusal) -> Self {
        Self {
            result: Err(refusal),
            body: None,
        }
    }
}

impl Forwarder {
    /// Answers one request: here, or with what a provider says.
    pub(super) async fn answer(
        &self,
        session: &Arc<Session>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let lineup = session.lineup();
        let stopped = match self.admit(session, &lineup, &parts, body.size_hint().exact()) {
            Ok(Admitted::Request(target, place)) => {
                match self
                    .forward(session, &lineup, target, place, parts.headers, body)
                    .await
                {
                    Ok(answer) => return Ok(answer),
                    Err(stopped) => stopped,
                }
            }
            Ok(Admitted::Probe) => return Err(probe_response()),
            Err(refusal) => Stopped::Refused(refusal, body),
        };
        let (refusal, unread) = match stopped {
            Stopped::Refused(refusal, body) => {
                session.refused(refusal);
                (refusal, Some(body))
            }
            Stopped::Failed(refusal, unread) => (refusal, unread),
        };
        // A client that is still writing reads no answer; let it finish. One that has stalled already is not waited for.
        if let Some(unread) = unread.filter(|_| refusal != Refusal::BodyStalled) {
            self.read_away(unread).await;
        }
        tracing::info!(session = %session.id, rule = refusal.code(), "a model request was refused");
        Err(refusal.response(Dialect::of(lineup.api())))
    }

    /// Everything that is decided before the body is looked at.
    fn admit(
        &self,
        session: &Session,
        lineup: &Lineup,
        parts: &Parts,
        length: Option<u64>,
    ) -> Result<Admitted, Refusal> {
        if !session.with_token(|token| policy::is_authorised(&parts.headers, token)) {
            return Err(Refusal::Unauthenticated);
        }
        let target = policy::target(lineup.api(), &parts.method, &parts.uri)?;
        if target.route == Route::Probe {
            return Ok(Admitted::Probe);
        }
        let limit = self.limits.max_request_body;
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::BodyTooLarge { limit });
        }
        let limit = self.limits.max_concurrent_requests;
        let place = session.request().ok_or(Refusal::TooManyRequests { limit })?;
        Ok(Admitted::Request(target, place))
    }

    async fn forward(
        &self,
        session: &Arc<Session>,
        lineup: &Lineup,
        target: Target,
        place: OwnedSemaphorePermit,
        headers: HeaderMap,
        body: Incoming,
    ) -> Result<Response<AnswerBody>, Stopped> {
        let order = lineup.in_order();
        let opened = self
            .open(session, &order, &target, place, body.size_hint().exact())
            .await;
        let (provider, key, mut exchange) = match opened {
            Ok(opened) => opened,
            Err(refusal) => return Err(Stopped::Refused(refusal, body)),
        };
        let head = Head {
            method: if target.route == Route::Models {
                Method::GET
            } else {
                Method::POST
            },
            headers: headers::to_upstream(headers, Dialect::of(lineup.api())),
            target,
        };
        let (body, leftover) =
            RequestBody::new(body, self.limits.max_request_body, self.limits.stall_timeout);
        let keep = provider.signs_bodies_up_to().unwrap_or(self.limits.max_held_body);
        let body = Held::new(body.heard_by(exchange.request_tap()), keep, &self.memory);
        let mut course = Course {
            forwarder: self,
            head: &head,
            leftover: &leftover,
            attempts: Attempts::new(self.retry, order.len()),
            order: &order,
            at: 0,
            key,
            rekeyed: false,
        };
        fail::fail_point!("gateway.model.send");
        let Sent { result, body } = course.run(body, &mut exchange).await;
        let (at, key) = (course.at, course.key);
        let provider = &order[at];
        let answer = match result.and_then(acceptable) {
            Ok(answer) => answer,
            Err(refusal) => {
                exchange.broke(refusal);
                drop(body.and_then(Loan::back));
                return Err(Stopped::Failed(refusal, leftover.unread()));
            }
        };
        fail::fail_point!("gateway.model.answered");
        self.note_provider(session, lineup, provider);
        Ok(self.pass_on(answer, &head, &key, provider, exchange))
    }

    /// Lets a request out to the first provider.
    async fn open(
        &self,
        session: &Arc<Session>,
        order: &[Arc<Provider>],
        target: &Target,
        place: OwnedSemaphorePermit,
        length: Option<u64>,
    ) -> Result<(Arc<Provider>, Key, Exchange), Refusal> {
        let provider = order.first().ok_or(Refusal::NoCredential)?;
        let key = provider.key().await?;
        let outlook = Outlook {
            length,
            model: ModelName::in_path(&target.path),
            generates: target.route == Route::Messages,
        };
        let exchange = Exchange::open(session, place, outlook, provider.line()).await?;
        Ok((Arc::clone(provider), key, exchange))
    }

    fn note_provider(&self, session: &Session, lineup: &Lineup, provider: &Provider) {
        let preferred = lineup.first().map_or("", |first| first.name());
        if session.goes_to(provider.name(), preferred) {
            let to = provider.name().to_owned();
            tracing::info!(session = %session.id, provider = to, "requests go to another provider");
            session
                .account
                .record(DoorEvent::ProviderChanged { to }, &Handle::current());
        }
    }

    /// Makes a provider's answer the session's.
    fn pass_on(
        &self,
        answer: Response<Incoming>,
        head: &Head,
        key: &Key,
        provider: &Provider,
        mut exchange: Exchange,
    ) -> Response<AnswerBody> {
        let (answer, body) = answer.into_parts();
        exchange.answered(answer.status);
        let counts = head.target.route == Route::Messages && answer.status.is_success();
        let tap = if counts {
            UsageTap::new(&answer.headers)
        } else {
            UsageTap::deaf()
        };
        let redactor = Redactor::new(Arc::clone(key.needle()));
        let mut headers = headers::to_session(answer.headers, key.needle());
        let mut status = answer.status;
        if retry::is_unauthorized(status) {
            status = provider.dialect().final_status(status);
            headers.insert(SHOULD_RETRY, should_retry(false));
        } else if retry::is_busy(status) {
            headers.entry(SHOULD_RETRY).or_insert(should_retry(true));
        }
        // A new response: the provider's reason phrase and other extensions of the connection stay outside.
        let body = AnswerBody::new(body, redactor, tap, self.limits.stall_timeout, exchange);
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Sends a request once.
    async fn send(&self, provider: &Provider, key: &Key, head: &Head, mut body: Held) -> Sent {
        let mut whole = Bytes::new();
        if let Some(limit) = provider.signs_bodies_up_to() {
            whole = match body.read().await {
                Ok(Whole::Kept(whole)) => whole,
                Ok(Whole::Unkept(Unkept::TooLong)) => {
                    let limit = (limit as u64).min(self.limits.max_request_body);
                    return Sent::refused(Refusal::BodyTooLarge { limit });
                }
                Ok(Whole::Unkept(Unkept::NoMemory)) => return Sent::refused(Refusal::NoMemory),
                Err(fault) => return Sent::refused(self.refusal_of(fault)),
            };
        }
        let address = match provider.address(&head.target.path) {
            Ok(address) => address,
            Err(refusal) => return Sent::refused(refusal),
        };
        let mut request = Request::new(());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = address;
        *request.headers_mut() = head.headers.clone();
        let (mut parts, ()) = request.into_parts();
        if let Err(refusal) = provider.authorise(key, &mut parts, &whole) {
            return Sent::refused(refusal);
        }
        drop(whole);
        let (body, loan) = body.lend();
        let result = self
            .upstream
            .send(provider.name(), Request::from_parts(parts, body))
            .await;
        Sent {
            result,
            body: Some(loan),
        }
    }

    fn refusal_of(&self, fault: BodyFault) -> Refusal {
        match fault {
            BodyFault::TooLarge => Refusal::BodyTooLarge {
                limit: self.limits.max_request_body,
            },
            BodyFault::Stalled => Refusal::BodyStalled,
            BodyFault::Broken => Refusal::BodyBroken,
        }
    }

    /// Reads a body to its end without keeping it, within the limits of a body that would be sent on.
    async fn read_away(&self, mut body: Incoming) {
        let reading = async {
            let mut left = self.limits.max_request_body;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(rest) = left.checked_sub(length) else {
                    return;
                };
                left = rest;
            }
        };
        // Past the time limit the answer is sent all the same and the connection closes after it.
        drop(tokio::time::timeout(self.limits.drain_timeout, reading).await);
    }
}

/// One request's attempts: who is asked now, and with which key.
struct Course<'a> {
    forwarder: &'a Forwarder,
    head: &'a Head,
    leftover: &'a Leftover,
    attempts: Attempts,
    order: &'a [Arc<Provider>],
    at: usize,
    key: Key,
    /// Whether a refused key was replaced: once is enough.
    rekeyed: bool,
}

impl Course<'_> {
    /// Sends until there is something to tell.
    async fn run(&mut self, mut body: Held, exchange: &mut Exchange) -> Sent {
        loop {
            let mut sent = self
                .forwarder
                .send(&self.order[self.at], &self.key, self.head, body)
                .await;
            if sent.result.is_err()
                && let Some(fault) = self.leftover.fault()
            {
                // The session's own body broke the request; the HTTP client reports that as a fault of the connection.
                sent.result = Err(self.forwarder.refusal_of(fault));
                return sent;
            }
            let again = match &sent.result {
                Ok(answer) if retry::is_unauthorized(answer.status()) => self.take_other_key().await,
                _ => match Trouble::of(&sent.result) {
                    Some(trouble) => self.after(trouble, exchange).await,
                    None => false,
                },
            };
            // What cannot be sent again is told.
            match sent.body.take_if(|_| again).and_then(Loan::back) {
                Some(held) if held.unkept().is_none() => body = held,
                held => {
                    drop(held);
                    return sent;
                }
            }
        }
    }

    /// After a key was refused: whether there is another one.
    async fn take_other_key(&mut self) -> bool {
        if std::mem::replace(&mut self.rekeyed, true) {
            return false;
        }
        let provider = &self.order[self.at];
        let Some(other) = provider.other_key(&self.key).await else {
            return false;
        };
        tracing::info!(provider = provider.name(), "a refused key was replaced");
        self.key = other;
        true
    }

    /// After a failure that may pass: waits, or goes to another provider; or does not.
    async fn after(&mut self, trouble: Trouble, exchange: &mut Exchange) -> bool {
        let policy = &self.forwarder.retry;
        let provider = &self.order[self.at];
        provider.pause(trouble.pause(policy));
        match self.attempts.next(trouble, rand::random()) {
            Next::Stop => false,
            Next::Again { wait } => {
                tracing::debug!(provider = provider.name(), ?wait, "a provider is asked again");
                tokio::time::sleep(wait).await;
                true
            }
            Next::Other => self.change_provider(exchange).await,
        }
    }

    async fn change_provider(&mut self, exchange: &mut Exchange) -> bool {
        let next = (self.at + 1) % self.order.len();
        let provider = &self.order[next];
        let key = match provider.key().await {
            Ok(key) => key,
            Err(refusal) => {
                tracing::warn!(
                    provider = provider.name(),
                    rule = refusal.code(),
                    "a provider cannot take over"
                );
                return false;
            }
        };
        if exchange.change_line(provider.line()).await.is_err() {
            return false;
        }
        (self.at, self.key) = (next, key);
        true
    }
}

/// Whether an answer can be passed on at all.
fn acceptable(answer: Response<Incoming>) -> Result<Response<Incoming>, Refusal> {
    let status = answer.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        Err(Refusal::Redirected)
    } else if status.is_informational() {
        Err(Refusal::Broken)
    } else if !headers::is_unencoded(answer.headers()) {
        Err(Refusal::Encoded)
    } else {
        Ok(answer)
    }
}
