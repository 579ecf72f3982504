//! Signature Version 4, by AWS's own crate, over the request as it is sent.
//!
//! The path has its escapes already (see `policy::bedrock`), so the canonical request escapes them once more, as this
//! service wants it. Signed are the host, the type of the body, the body, and every field of AWS's; fields that a session
//! sent of that kind are gone by then.

use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningError, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tokio::time::Instant;

use crate::error::Chain;
use crate::model::redact::Needle;
use crate::model::refusal::Refusal;

/// Bedrock's name in signatures.
const SERVICE: &str = "bedrock";
/// Fields of AWS's begin so.
const AWS_PREFIX: &str = "x-amz";

/// Credentials with what answers are searched for.
pub(crate) struct AwsKey {
    credentials: Credentials,
    needle: Arc<Needle>,
    /// When they were found.
    pub(super) found: Instant,
}

impl AwsKey {
    pub(super) fn new(credentials: Credentials) -> Self {
        // The token travels, and a complaint about a signature repeats the signed fields. The secret never travels.
        let seen = credentials
            .session_token()
            .filter(|token| !token.is_empty())
            .unwrap_or_else(|| credentials.secret_access_key());
        Self {
            needle: Arc::new(Needle::new(seen.as_bytes())),
            credentials,
            found: Instant::now(),
        }
    }

    pub(super) fn expiry(&self) -> Option<SystemTime> {
        self.credentials.expiry()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.credentials.access_key_id() == other.credentials.access_key_id()
            && self.credentials.session_token() == other.credentials.session_token()
            && self.credentials.secret_access_key() == other.credentials.secret_access_key()
    }

    pub(crate) fn needle(&self) -> &Arc<Needle> {
        &self.needle
    }

    /// Signs a request that is sent now.
    pub(crate) fn sign(&self, region: &str, request: &mut Parts, body: &[u8]) -> Result<(), Refusal> {
        self.sign_at(SystemTime::now(), region, request, body)
    }

    fn sign_at(
        &self,
        time: SystemTime,
        region: &str,
        request: &mut Parts,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let host = request
            .uri
            .authority()
            .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
            .ok_or(Refusal::MalformedTarget)?;
        request.headers.insert(HOST, host);
        let unreadable: Vec<HeaderName> = request
            .headers
            .iter()
            .filter(|(name, value)| is_signed(name) && value.to_str().is_err())
            .map(|(name, _)| name.clone())
            .collect();
        for name in unreadable {
            request.headers.remove(name);
        }
        let signed = self.signed(time, region, request, body);
        let signed = signed.map_err(|error| {
            tracing::error!(error = %Chain(error.as_ref()), "a request to Bedrock cannot be signed");
            Refusal::CredentialUnusable
        })?;
        let mut carrier = Request::new(());
        signed.apply_to_request_http1x(&mut carrier);
        request.headers.extend(std::mem::take(carrier.headers_mut()));
        Ok(())
    }

    fn signed(
        &self,
        time: SystemTime,
        region: &str,
        request: &Parts,
        body: &[u8],
    ) -> Result<aws_sigv4::http_request::SigningInstructions, Box<dyn std::error::Error + Send + Sync>> {
        let identity = self.credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(SERVICE)
            .time(time)
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = request
            .headers
            .iter()
            .filter(|(name, _)| is_signed(name))
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new(
            request.method.as_str(),
            request.uri.to_string(),
            headers,
            SignableBody::Bytes(body),
        )?;
        let signed: Result<_, SigningError> = sign(signable, &params);
        Ok(signed?.into_parts().0)
    }
}

fn is_signed(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_TYPE || name.as_str().starts_with(AWS_PREFIX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn request(uri: &str) -> Parts {
        Request::post(uri)
            .header("content-type", "application/json")
            .header("user-agent", "claude-cli")
            .header("x-amzn-bedrock-trace", "ENABLED")
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    fn key(token: Option<&str>) -> AwsKey {
        let token = token.map(str::to_owned);
        AwsKey::new(Credentials::new(
            "AKIDEXAMPLE",
            "canary-secret-key",
            token,
            None,
            "test",
        ))
    }

    fn sign(key: &AwsKey, uri: &str, body: &[u8]) -> Parts {
        let mut parts = request(uri);
        let time = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        key.sign_at(time, "eu-west-1", &mut parts, body).unwrap();
        parts
    }

    const URI: &str = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a.b-v1%3A0/invoke";

    #[test]
    fn the_host_the_body_and_all_fields_of_aws_are_signed() {
        let parts = sign(&key(Some("canary-token")), URI, b"{}");
        let authorization = parts.headers["authorization"].to_str().unwrap();
        assert!(
            authorization.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20270115/eu-west-1/bedrock/aws4_request"
            ),
            "{authorization}"
        );
        assert!(
            authorization.contains(
                "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amzn-bedrock-trace"
            ),
            "{authorization}"
        );
        assert_eq!(parts.headers["host"], "bedrock-runtime.eu-west-1.amazonaws.com");
        assert_eq!(parts.headers["x-amz-security-token"], "canary-token");
        assert!(
            !format!("{:?}", parts.headers).contains("canary"),
            "the token is marked"
        );

        let signature = |uri, body| sign(&key(None), uri, body).headers["authorization"].clone();
        assert_eq!(signature(URI, b"{}"), signature(URI, b"{}"));
        assert_ne!(signature(URI, b"{}"), signature(URI, b"{} "));
        assert_ne!(
            signature(URI, b"{}"),
            signature(&URI.replace("a.b", "a.c"), b"{}")
        );
    }

    #[test]
    fn answers_are_searched_for_what_travels() {
        let masked = |key: &AwsKey, text: &str| key.needle().masked(text.as_bytes()).is_some();
        assert!(masked(
            &key(Some("canary-token")),
            "x-amz-security-token:canary-token"
        ));
        assert!(masked(&key(None), "canary-secret-key"));
    }
}
