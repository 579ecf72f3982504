//! The requests of OAuth: through the gate, bounded in time and size, and never redirected.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use rmcp::transport::auth::{OAuthHttpClient, OAuthHttpClientError, OAuthHttpClientFuture, OAuthHttpRequest};
use tokio::time::timeout;

use crate::mcp::upstream::{Gate, Pool, judge_error};

/// Far more than any metadata or token.
const MAX_BODY: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Errands(Pool);

impl Errands {
    pub(super) fn new(gate: Gate) -> Self {
        Self(gate.pool())
    }

    async fn run(&self, request: OAuthHttpRequest) -> Result<hyper::Response<Vec<u8>>, OAuthHttpClientError> {
        let (head, body) = request.request.into_parts();
        let request = hyper::Request::from_parts(head, Full::from(body));
        let response = self.0.request(request).await.map_err(|error| {
            let told = judge_error(&error).0.map(|(_, told)| told);
            ErrandFault(told.unwrap_or_else(|| "the connection broke".to_owned()))
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|_| ErrandFault("the answer broke off or is too long".to_owned()))?;
        Ok(hyper::Response::from_parts(head, body.to_bytes().into()))
    }
}

impl OAuthHttpClient for Errands {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        // A redirect is handed back whatever the policy: the library follows those that may be followed by asking again.
        Box::pin(async move {
            match timeout(PATIENCE, self.run(request)).await {
                Ok(answer) => answer,
                Err(_elapsed) => Err(ErrandFault("there was no answer in time".to_owned()).into()),
            }
        })
    }
}

#[derive(Debug)]
struct ErrandFault(String);

impl fmt::Display for ErrandFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ErrandFault {}
