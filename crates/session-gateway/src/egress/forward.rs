//! Plain HTTP: a request that was allowed is made anew towards its host, and the answer is passed back.
//!
//! Nothing of the client's framing goes on: lengths and chunks are written for the body as it comes, so two readings of
//! one request cannot arise behind the door. Redirects are answers like any other. A connection with a host belongs to
//! the one connection from inside for which it was made, and is used again for its next request to the same host.
//!
//! For a host with a credential rule the door speaks TLS, whatever the path; the credential is put in below the rule's path
//! only, and an answer to a request that had it is searched for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use session_core::egress::HostRule;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::body::PassingBody;
use super::config::EgressLimits;
use super::credential::{Credential, Stand};
use super::denial::{Destination, Failure};
use super::dial::{DialFault, Dialer};
use super::headers;
use super::session::Session;
use super::target::Host;
use super::tls::TlsClient;

/// The least that hyper takes.
const MIN_BUFFER: usize = 8192;

/// What it takes to forward a request.
pub(crate) struct Forwarder {
    pub(crate) dialer: Dialer,
    tls: TlsClient,
    response_timeout: Duration,
    stall_timeout: Duration,
    max_buffer: usize,
    max_headers: usize,
}

/// One request that was allowed.
pub(crate) struct Errand<'a> {
    pub(crate) session: &'a Arc<Session>,
    /// Where it goes and by which rule, for the session's history.
    pub(crate) to: &'a Destination,
    pub(crate) rule: &'a HostRule,
    pub(crate) host: Host,
    /// The port that is dialled.
    pub(crate) port: u16,
    pub(crate) path: PathAndQuery,
    /// Set for hosts with a credential rule.
    pub(crate) stand: Option<Stand<'a>>,
}

/// The connection with a host that a connection from inside keeps.
#[derive(Default)]
pub(crate) struct Courier(Mutex<Option<Kept>>);

struct Kept {
    host: Host,
    port: u16,
    tls: bool,
    sender: SendRequest<PassingBody>,
    /// Moves the connection's bytes; it ends with the connection from inside.
    _driver: AbortOnDropHandle<()>,
}

impl Forwarder {
    pub(crate) fn new(dialer: Dialer, tls: TlsClient, limits: &EgressLimits) -> Self {
        Self {
            dialer,
            tls,
            response_timeout: limits.response_timeout,
            stall_timeout: limits.idle_timeout,
            max_buffer: limits.max_buffer.max(MIN_BUFFER),
            max_headers: limits.max_headers,
        }
    }

    /// Makes the request and gives the answer's head and a body that passes as it comes.
    pub(crate) async fn forward(
        &self,
        courier: &Courier,
        errand: Errand<'_>,
        parts: Parts,
        body: Incoming,
    ) -> Result<Response<PassingBody>, DialFault> {
        let credential = match &errand.stand {
            Some(stand) => stand.credential().await,
            None => Ok(None),
        };
        let credential = credential.map_err(|_| DialFault::Failed(Failure::NoCredential))?;
        let request = self.request(&errand, parts, body, credential.as_ref());
        let sent = timeout(self.response_timeout, self.send(courier, &errand, request)).await;
        let answer = sent.map_err(|_elapsed| DialFault::Failed(Failure::AnswerTimedOut))??;
        self.answer(&errand, answer, credential.as_ref())
            .map_err(DialFault::Failed)
    }

    fn request(
        &self,
        errand: &Errand<'_>,
        parts: Parts,
        body: Incoming,
        credential: Option<&Credential>,
    ) -> Request<PassingBody> {
        let body = PassingBody::new(Some(body), Arc::clone(errand.session), &[], self.stall_timeout);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = Uri::from(errand.path.clone());
        *request.version_mut() = Version::HTTP_11;
        let mut fields = parts.headers;
        let default_port = if errand.stand.is_some() { 443 } else { 80 };
        headers::to_host(&mut fields, &errand.host, errand.port, default_port);
        if errand.stand.is_some() {
            headers::without_authorization(&mut fields);
        }
        if let Some(credential) = credential {
            headers::ask_unencoded(&mut fields);
            credential.apply(&mut fields);
        }
        *request.headers_mut() = fields;
        request
    }

    /// Sends on the connection that is kept, or on a new one when there is none or it turns out to be closed.
    async fn send(
        &self,
        courier: &Courier,
        errand: &Errand<'_>,
        mut request: Request<PassingBody>,
    ) -> Result<Response<Incoming>, DialFault> {
        let broken = |error: hyper::Error| {
            tracing::debug!(session = %errand.session.id, %error, "a plain request failed");
            DialFault::Failed(Failure::Broken)
        };
        // Before a byte goes: what was sent has left the session, also when nobody waits for the answer.
        let told = || async { errand.session.reached(errand.to, &errand.rule.to_string()).await };
        if let Some(mut kept) = courier.take(errand) {
            told().await;
            let again = self.repeatable(errand, &request);
            match kept.sender.try_send_request(request).await {
                Ok(answer) => {
                    courier.put(kept);
                    return Ok(answer);
                }
                // The host closed it in the meantime, as hosts do with connections that they kept for a while. What has
                // not gone out goes out now, and so does what may be asked twice.
                Err(mut error) => match error.take_message().or(again) {
                    Some(unanswered) => request = unanswered,
                    None => return Err(broken(error.into_error())),
                },
            }
        }
        let mut made = self.connect(errand).await?;
        told().await;
        let answer = made.sender.send_request(request).await.map_err(broken)?;
        courier.put(made);
        Ok(answer)
    }

    /// The same request once more, if asking twice is asking once (RFC 9110, 9.2.2) and there is no body to lose.
    fn repeatable(
        &self,
        errand: &Errand<'_>,
        request: &Request<PassingBody>,
    ) -> Option<Request<PassingBody>> {
        if !request.method().is_safe() || !request.body().is_end_stream() {
            return None;
        }
        let body = PassingBody::new(None, Arc::clone(errand.session), &[], self.stall_timeout);
        let mut again = Request::new(body);
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        Some(again)
    }

    async fn connect(&self, errand: &Errand<'_>) -> Result<Kept, DialFault> {
        let stream = self.dialer.dial(&errand.host, errand.port).await?;
        if errand.stand.is_none() {
            return self.handshake(errand, stream).await;
        }
        let stream = self
            .tls
            .connect(&errand.host, stream)
            .await
            .map_err(DialFault::Failed)?;
        self.handshake(errand, stream).await
    }

    async fn handshake<S>(&self, errand: &Errand<'_>, stream: S) -> Result<Kept, DialFault>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let made = http1::Builder::new()
            .max_buf_size(self.max_buffer)
            .max_headers(self.max_headers)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = made.map_err(|_| DialFault::Failed(Failure::Broken))?;
        let driver = tokio::spawn(async move {
            // How it ended is told to whoever waits for an answer.
            drop(connection.await);
        });
        Ok(Kept {
            host: errand.host.clone(),
            port: errand.port,
            tls: errand.stand.is_some(),
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    fn answer(
        &self,
        errand: &Errand<'_>,
        answer: Response<Incoming>,
        credential: Option<&Credential>,
    ) -> Result<Response<PassingBody>, Failure> {
        let (head, body) = answer.into_parts();
        if head.status.is_informational() {
            // Nobody asked for another protocol.
            return Err(Failure::Broken);
        }
        let mut fields = head.headers;
        headers::to_session(&mut fields);
        if errand.stand.is_some() {
            headers::lead_back(&mut fields, &errand.host, errand.port);
        }
        let needles = match credential {
            None => &[][..],
            Some(_) if !headers::is_unencoded(&fields) && head.status != StatusCode::NOT_MODIFIED => {
                return Err(Failure::Encoded);
            }
            Some(credential) => {
                headers::without_state(&mut fields);
                credential.mask(&mut fields);
                credential.needles()
            }
        };
        let body = PassingBody::new(
            Some(body),
            Arc::clone(errand.session),
            needles,
            self.stall_timeout,
        );
        // A new response: the host's reason phrase and other extensions of the connection stay outside.
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = fields;
        Ok(response)
    }
}

impl Courier {
    /// The connection that is kept, if it leads where the errand goes. One that leads elsewhere is closed.
    fn take(&self, errand: &Errand<'_>) -> Option<Kept> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let fits = kept.host == errand.host && kept.port == errand.port && kept.tls == errand.stand.is_some();
        (fits && !kept.sender.is_closed()).then_some(kept)
    }

    fn put(&self, kept: Kept) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }
}
