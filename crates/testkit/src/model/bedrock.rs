//! AWS Bedrock's runtime: who may ask, what a path means, and event-stream frames.
//!
//! A signature is checked as AWS does it: computed once more over what arrived, with the secret that belongs to the id, by
//! AWS's own crate, and compared. So what is signed must be what is sent, to the byte.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::surface::Asked;
use super::{ApiFailure, ApiRequest};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(900);
/// Fields that the signer writes itself.
const WRITTEN_BY_SIGNER: [&str; 2] = ["x-amz-date", "x-amz-security-token"];

/// Whose signatures are taken, and in which region. Clones are the same.
#[derive(Debug, Clone)]
pub struct AwsGate {
    region: String,
    accounts: Arc<Mutex<Vec<Account>>>,
    bearer: Arc<Mutex<Option<String>>>,
}

#[derive(Debug, Clone)]
struct Account {
    id: String,
    secret: String,
    token: Option<String>,
}

impl AwsGate {
    /// A region that knows nobody.
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            accounts: Arc::default(),
            bearer: Arc::default(),
        }
    }

    /// Takes signatures with these credentials, too.
    #[must_use]
    pub fn accept(self, id: &str, secret: &str, token: Option<&str>) -> Self {
        self.add(id, secret, token);
        self
    }

    /// The same for a gate that is in use.
    pub fn add(&self, id: &str, secret: &str, token: Option<&str>) {
        let account = Account {
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: token.map(str::to_owned),
        };
        self.accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(account);
    }

    /// Takes no signatures of this id any more.
    pub fn revoke(&self, id: &str) {
        self.accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|account| account.id != id);
    }

    /// Takes this API key instead of signatures, too.
    pub fn accept_bearer(&self, token: &str) {
        *self.bearer.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
    }

    pub(super) fn check(&self, request: &ApiRequest) -> Result<(), ApiFailure> {
        let authorization = request.header("authorization").unwrap_or_default();
        if let Some(token) = authorization.strip_prefix("Bearer ") {
            let known = self.bearer.lock().unwrap_or_else(PoisonError::into_inner);
            return if known.as_deref() == Some(token) {
                Ok(())
            } else {
                Err(refused(
                    "Authentication failed: Please make sure your API Key is valid.",
                ))
            };
        }
        let Some(said) = Said::read(authorization) else {
            return Err(refused("Missing Authentication Token"));
        };
        let Some(account) = self.account(said.id) else {
            return Err(refused("The security token included in the request is invalid."));
        };
        if request.header("x-amz-security-token") != account.token.as_deref() {
            return Err(refused("The security token included in the request is invalid."));
        }
        if said.region != self.region || said.service != "bedrock" {
            return Err(refused(format!(
                "Credential should be scoped to a valid region. (asked: {}, {})",
                said.region, said.service
            )));
        }
        match self.expected(request, &said, &account) {
            Some(expected) if expected == authorization => Ok(()),
            // AWS repeats what it signed, the token among it.
            _ => Err(refused(format!(
                "The request signature we calculated does not match the signature you provided. The Canonical String \
                 for this request should have been '{} {} x-amz-security-token:{}'",
                request.method,
                request.path,
                account.token.as_deref().unwrap_or_default(),
            ))),
        }
    }

    fn account(&self, id: &str) -> Option<Account> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.iter().find(|account| account.id == id).cloned()
    }

    /// The field that a request with these credentials would have.
    fn expected(&self, request: &ApiRequest, said: &Said<'_>, account: &Account) -> Option<String> {
        let time = time_of(request.header("x-amz-date")?)?;
        let now = SystemTime::now();
        let apart = now
            .duration_since(time)
            .or_else(|_| time.duration_since(now))
            .ok()?;
        if apart > SKEW {
            return None;
        }
        let host = request.header("host")?;
        let credentials = Credentials::new(
            account.id.clone(),
            account.secret.clone(),
            account.token.clone(),
            None,
            "testkit",
        );
        let identity = credentials.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(said.service)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .ok()?
            .into();
        let signed = said
            .signed
            .split(';')
            .filter(|name| !WRITTEN_BY_SIGNER.contains(name))
            .map(|name| Some((name, request.header(name)?)))
            .collect::<Option<Vec<_>>>()?;
        let uri = format!("https://{host}{}", request.path);
        let body = SignableBody::Bytes(&request.body);
        let signable = SignableRequest::new(&request.method, uri, signed.into_iter(), body).ok()?;
        let (instructions, _) = sign(signable, &params).ok()?.into_parts();
        let field = instructions.headers().find(|(name, _)| *name == "authorization");
        field.map(|(_, value)| value.to_owned())
    }
}

/// What a signature says of itself.
struct Said<'a> {
    id: &'a str,
    region: &'a str,
    service: &'a str,
    signed: &'a str,
}

impl<'a> Said<'a> {
    fn read(authorization: &'a str) -> Option<Self> {
        let rest = authorization.strip_prefix(ALGORITHM)?;
        let field = |name: &str| {
            rest.split(',')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let scope: Vec<&str> = field("Credential")?.split('/').collect();
        let &[id, _date, region, service, "aws4_request"] = scope.as_slice() else {
            return None;
        };
        Some(Self {
            id,
            region,
            service,
            signed: field("SignedHeaders")?,
        })
    }
}

fn time_of(date: &str) -> Option<SystemTime> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    let seconds = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

fn refused(message: impl Into<String>) -> ApiFailure {
    ApiFailure::new(403, "AccessDeniedException", message)
}

pub(super) fn error_type(status: u16) -> &'static str {
    match status {
        400 => "ValidationException",
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

/// `/model/ID/invoke` and its like. The id is escaped, as AWS's own clients send it.
pub(super) fn asked(path: &str) -> Asked {
    let Some((id, operation)) = path.strip_prefix("/model/").and_then(|rest| rest.split_once('/')) else {
        return Asked::default();
    };
    let (path, stream) = match operation {
        "invoke" => ("/v1/messages", false),
        "invoke-with-response-stream" => ("/v1/messages", true),
        "count-tokens" => ("/v1/messages/count_tokens", false),
        _ => return Asked::default(),
    };
    Asked {
        path: Some(path),
        model: Some(id.replace("%3A", ":").replace("%2F", "/")),
        stream: Some(stream),
    }
}

/// One event in a frame. An `error` event is an exception of the service's.
pub(super) fn frame(event: &Value) -> Vec<u8> {
    let (kind, name, payload) = if event["type"] == "error" {
        (
            (":message-type", "exception"),
            (":exception-type", "modelStreamErrorException"),
            json!({ "message": event["error"]["message"] }),
        )
    } else {
        // The padding hides how long an event is.
        let payload = json!({ "bytes": BASE64_STANDARD.encode(event.to_string()), "p": "abcdefghijkl" });
        ((":message-type", "event"), (":event-type", "chunk"), payload)
    };
    let text =
        |(name, value): (&'static str, &'static str)| Header::new(name, HeaderValue::String(value.into()));
    let message = Message::new(payload.to_string())
        .add_header(text(name))
        .add_header(text((":content-type", "application/json")))
        .add_header(text(kind));
    let mut bytes = Vec::new();
    // Fails only for a message of megabytes.
    write_message_to(&message, &mut bytes).unwrap_or_default();
    bytes
}
