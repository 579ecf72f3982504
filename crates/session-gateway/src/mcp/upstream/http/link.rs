//! One endpoint, as the protocol library asks for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use secrecy::{ExposeSecret as _, SecretString};
use sse_stream::Sse;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::ending::Ending;
use super::super::life::Reason;
use super::answer::{self, BodyFault, Kind, SESSION};
use super::events::{Reading, events};
use super::gate::{Pool, judge_error};
use super::headers::Headers;
use crate::mcp::call::FailureCause;
use crate::mcp::login::Login;
use crate::mcp::wire::{self, Heard, Patience};

/// A server that closes its stream at once is not asked for another one faster than this.
const REOPEN: Duration = Duration::from_millis(250);
/// How long the head of an answer may take where nothing is computed for it.
const PROMPT: Duration = Duration::from_secs(30);
const AGENT: &str = concat!("cofferdam/", env!("CARGO_PKG_VERSION"));
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(in crate::mcp::upstream) struct HttpLink(Arc<Shared>);

struct Shared {
    pool: Pool,
    uri: Uri,
    headers: Arc<Headers>,
    login: Option<Login>,
    reading: Reading,
    /// When a stream may be opened again.
    reopen: tokio::sync::Mutex<Instant>,
}

type Fault = StreamableHttpError<HttpFault>;

/// What stands in each request.
struct Parts<'a> {
    session: Option<&'a str>,
    fields: HashMap<HeaderName, HeaderValue>,
    body: Bytes,
}

impl HttpLink {
    pub(in crate::mcp::upstream) fn new(
        pool: Pool,
        uri: Uri,
        headers: Headers,
        login: Option<Login>,
        max_message: usize,
        ending: Ending,
    ) -> Self {
        let headers = Arc::new(headers);
        let reading = Reading {
            headers: Arc::clone(&headers),
            patience: Arc::new(Mutex::new(Patience::new())),
            max_message,
            ending,
        };
        Self(Arc::new(Shared {
            pool,
            uri,
            headers,
            login,
            reading,
            reopen: tokio::sync::Mutex::new(Instant::now()),
        }))
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0.uri
    }

    /// The connection is of no more use.
    fn fail(&self, (cause, detail): Reason, never_left: bool) -> Fault {
        let fault = HttpFault {
            never_left,
            status: None,
            told: detail.clone(),
        };
        self.0.reading.ending.fail(cause, detail);
        StreamableHttpError::Client(fault)
    }

    /// Sends a request and judges the head of its answer: with a credential that is renewed once when it is refused.
    async fn send(&self, method: Method, parts: Parts<'_>) -> Result<Response<Incoming>, Fault> {
        let token = self.token(None).await?;
        let response = self.once(&method, &parts, token.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.judge(response);
        }
        let Some(refused) = token else {
            return Err(self.fail(unauthorized(&response), true));
        };
        drop(response);
        let renewed = self.token(Some(&refused)).await?;
        let response = self.once(&method, &parts, renewed.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let reason = self
                .0
                .login
                .as_ref()
                .map_or_else(|| unauthorized(&response), Login::needed);
            return Err(self.fail(reason, true));
        }
        self.judge(response)
    }

    /// The login's token, another one than `refused`.
    async fn token(&self, refused: Option<&SecretString>) -> Result<Option<SecretString>, Fault> {
        let Some(login) = &self.0.login else {
            return Ok(None);
        };
        let token = match refused {
            None => login.token().await,
            Some(refused) => login.renewed(refused).await,
        };
        let token = token.map_err(|reason| self.fail(reason, true))?;
        self.0.headers.remember(vec![token.clone()]);
        Ok(Some(token))
    }

    async fn once(
        &self,
        method: &Method,
        parts: &Parts<'_>,
        token: Option<&SecretString>,
    ) -> Result<Response<Incoming>, Fault> {
        let request = self.request(method, parts, token).await?;
        match self.0.pool.request(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                let (reason, never_left) = judge_error(&error);
                tracing::debug!(connect = error.is_connect(), "a request to an MCP server failed");
                match reason {
                    Some(reason) => Err(self.fail(reason, never_left)),
                    None => Err(broken("the connection with the server broke", never_left)),
                }
            }
        }
    }

    async fn request(
        &self,
        method: &Method,
        parts: &Parts<'_>,
        token: Option<&SecretString>,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.extend(parts.fields.clone());
        let own = self.0.headers.fields().await;
        headers.extend(own.map_err(|reason| self.fail(reason, true))?);
        if let Some(token) = token {
            let value = format!("Bearer {}", token.expose_secret());
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| broken("the login's token cannot be sent in a header", true))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(session) = parts.session {
            let value = HeaderValue::from_str(session)
                .map_err(|_| broken("the session's id cannot be sent in a header", true))?;
            headers.insert(SESSION, value);
        }
        let mut request = Request::new(Full::new(parts.body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.0.uri.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// What ends the connection whatever was asked.
    fn judge(&self, response: Response<Incoming>) -> Result<Response<Incoming>, Fault> {
        if let Some(location) = answer::redirect(&response) {
            let mask = self.0.headers.mask();
            let location = mask.text(&location);
            let told =
                format!("it redirects to {location}, and redirects are not followed: declare that address");
            return Err(self.fail((FailureCause::Forbidden, told), true));
        }
        let challenged = response.headers().contains_key(WWW_AUTHENTICATE);
        if response.status() == StatusCode::FORBIDDEN
            && challenged
            && let Some(login) = &self.0.login
        {
            return Err(self.fail(login.needed(), true));
        }
        Ok(response)
    }

    /// The answer to a message that was posted.
    async fn posted(
        &self,
        message: &ClientJsonRpcMessage,
        had_session: bool,
        response: Response<Incoming>,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        let status = response.status();
        let asked = match message {
            ClientJsonRpcMessage::Request(request) => Some(&request.id),
            _ => None,
        };
        match status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                return Ok(StreamableHttpPostResponse::Accepted);
            }
            StatusCode::NOT_FOUND if had_session => {
                let reason = (FailureCause::Ended, "it has forgotten the session".to_owned());
                return Err(self.fail(reason, true));
            }
            status if status.is_success() => {}
            status => return self.refused(message, status, response).await,
        }
        let session = answer::session(response.headers());
        match (answer::kind(response.headers()), asked) {
            (Kind::Events, _) => {
                let pieces = answer::pieces(response.into_body());
                let events = events(pieces, self.0.reading.clone()).boxed();
                Ok(StreamableHttpPostResponse::Sse(events, session))
            }
            (Kind::Json, Some(id)) => {
                let message = self.message(response.into_body(), id).await?;
                Ok(StreamableHttpPostResponse::Json(message, session))
            }
            // Nothing is asked by a notification, whatever is said to it.
            (_, None) => {
                answer::complaint(response.into_body()).await;
                Ok(StreamableHttpPostResponse::Accepted)
            }
            (Kind::Other, Some(_)) => Err(broken("the server answered with neither JSON nor events", false)),
        }
    }

    async fn message(&self, body: Incoming, asked: &RequestId) -> Result<ServerJsonRpcMessage, Fault> {
        let body = match answer::whole(body, self.0.reading.max_message).await {
            Ok(body) => body,
            Err(BodyFault::TooLong) => {
                let told = "the server's answer is longer than messages may be";
                return Ok(wire::in_place_of(asked.clone(), told));
            }
            Err(BodyFault::Broken) => return Err(broken("the connection with the server broke", false)),
        };
        Ok(match wire::read(&body, &self.0.headers.mask()) {
            Heard::Message(message) => *message,
            Heard::Unreadable(_, why) => wire::in_place_of(asked.clone(), why),
            Heard::Blank | Heard::Junk => {
                wire::in_place_of(asked.clone(), "the server's answer is no JSON-RPC 2.0 message")
            }
        })
    }

    /// A status that says no.
    async fn refused(
        &self,
        message: &ClientJsonRpcMessage,
        status: StatusCode,
        response: Response<Incoming>,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        let complaint = answer::complaint(response.into_body()).await;
        let said = match wire::read(&complaint, &self.0.headers.mask()) {
            Heard::Message(message) => match *message {
                ServerJsonRpcMessage::Error(error) => Some(error.error),
                _ => None,
            },
            _ => None,
        };
        let ClientJsonRpcMessage::Request(request) = message else {
            return Err(refusal(status));
        };
        let error = match said {
            // The server's own word, to whom it belongs: a refusal by middleware cannot repeat the id.
            Some(error) => error,
            None if status.is_client_error()
                && status != StatusCode::FORBIDDEN
                && matches!(request.request, ClientRequest::DiscoverRequest(_)) =>
            {
                // It does not know the question: a server of the time before.
                ErrorData::invalid_request(format!("the server answered HTTP {}", status.as_u16()), None)
            }
            None => return Err(refusal(status)),
        };
        let answer = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
        Ok(StreamableHttpPostResponse::Json(answer, None))
    }
}

impl StreamableHttpClient for HttpLink {
    type Error = HttpFault;

    async fn post_message(
        &self,
        _: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        mut fields: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        let body = serde_json::to_vec(&message)?;
        let parts = Parts {
            session: session.as_deref(),
            fields,
            body: body.into(),
        };
        let had_session = parts.session.is_some();
        let response = self.send(Method::POST, parts).await?;
        self.posted(&message, had_session, response).await
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        session: Arc<str>,
        _: Option<String>,
        fields: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Fault> {
        let parts = Parts {
            session: Some(&session),
            fields,
            body: Bytes::new(),
        };
        let token = self.token(None).await?;
        let deleted = self.once(&Method::DELETE, &parts, token.as_ref()).await?;
        // A server may well refuse: then it forgets the session by itself.
        drop(deleted);
        Ok(())
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _: Option<String>,
        mut fields: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Fault> {
        {
            let mut reopen = self.0.reopen.lock().await;
            sleep_until(*reopen).await;
            *reopen = Instant::now() + REOPEN;
        }
        fields.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_event
            .as_deref()
            .and_then(|id| HeaderValue::from_str(id).ok())
        {
            fields.insert(LAST_EVENT, id);
        }
        let parts = Parts {
            session: session.as_deref(),
            fields,
            body: Bytes::new(),
        };
        let response = timeout(PROMPT, self.send(Method::GET, parts))
            .await
            .map_err(|_elapsed| broken("the server did not open a stream in time", true))??;
        let status = response.status();
        if status.is_success() && answer::kind(response.headers()) == Kind::Events {
            let pieces = answer::pieces(response.into_body());
            return Ok(events(pieces, self.0.reading.clone()).boxed());
        }
        if status.is_server_error() && last_event.is_some() {
            return Err(refusal(status));
        }
        // Many servers that have no such stream say so with another status than 405.
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

fn unauthorized(response: &Response<Incoming>) -> Reason {
    let detail = if response.headers().contains_key(WWW_AUTHENTICATE) {
        "it refuses the credential, or wants one or a login (`oauth`) and has none"
    } else {
        "it refuses the credential, or wants one and has none"
    };
    (FailureCause::Unauthorized, detail.to_owned())
}

/// The server turned a request away. These statuses say that nothing was done.
fn refusal(status: StatusCode) -> Fault {
    let never_ran = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::TOO_MANY_REQUESTS
    );
    StreamableHttpError::Client(HttpFault {
        never_left: never_ran,
        status: Some(status),
        told: format!("it answered HTTP {}", status.as_u16()),
    })
}

fn broken(told: impl Into<String>, never_left: bool) -> Fault {
    StreamableHttpError::Client(HttpFault {
        never_left,
        status: None,
        told: told.into(),
    })
}

/// Why a request has no answer, in our words.
#[derive(Debug)]
pub(in crate::mcp::upstream) struct HttpFault {
    /// Whether it did not reach the server, or was turned away there.
    pub(in crate::mcp::upstream) never_left: bool,
    /// The status that said so.
    status: Option<StatusCode>,
    told: String,
}

impl HttpFault {
    /// What it means where a server is greeted.
    pub(in crate::mcp::upstream) fn cause(&self) -> FailureCause {
        match self.status {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => FailureCause::Unauthorized,
            Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE) => {
                FailureCause::Missing
            }
            _ => FailureCause::Ended,
        }
    }
}

impl fmt::Display for HttpFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl std::error::Error for HttpFault {}
