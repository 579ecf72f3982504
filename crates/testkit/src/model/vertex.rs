//! Google Vertex: who may ask, what a path means, and where tokens come from.
//!
//! The same server plays Google's token endpoint (`POST /token`, for a user's login) and the metadata service of its
//! cloud, so that a test gives out a token and sees it come back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::surface::Asked;
use super::{ApiFailure, ApiRequest};

const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// Whose tokens are taken, and for which project and region. Clones are the same.
#[derive(Debug, Clone)]
pub struct GoogleGate {
    project: String,
    region: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The refresh token of a user's login that is good.
    login: Option<String>,
    given: u64,
    /// The tokens that are good.
    tokens: Vec<String>,
}

impl GoogleGate {
    /// A project in a region.
    pub fn new(project: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            region: region.into(),
            state: Arc::default(),
        }
    }

    /// Gives tokens to whoever has this login.
    #[must_use]
    pub fn login(self, refresh_token: &str) -> Self {
        self.state().login = Some(refresh_token.to_owned());
        self
    }

    /// Takes no login any more.
    pub fn revoke_login(&self) {
        self.state().login = None;
    }

    /// Takes none of the tokens any more that were given out.
    pub fn revoke_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Takes this token.
    pub fn accept(&self, token: &str) {
        self.state().tokens.push(token.to_owned());
    }

    /// How many tokens were given out.
    pub fn given(&self) -> u64 {
        self.state().given
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check(&self, request: &ApiRequest) -> Result<(), ApiFailure> {
        let token = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| self.state().tokens.iter().any(|known| known == token)) {
            return Err(ApiFailure::new(
                401,
                "UNAUTHENTICATED",
                format!(
                    "Request had invalid authentication credentials ({}).",
                    token.unwrap_or("none")
                ),
            ));
        }
        let place = format!("/v1/projects/{}/locations/{}/", self.project, self.region);
        if request.path.starts_with(&place) {
            Ok(())
        } else {
            Err(ApiFailure::new(
                403,
                "PERMISSION_DENIED",
                "Permission denied on resource project.",
            ))
        }
    }

    /// What is answered where tokens are given out.
    pub(super) fn token(&self, request: &ApiRequest) -> Option<Result<Value, ApiFailure>> {
        let path = request.path.split('?').next().unwrap_or_default();
        let is_known = match (request.method.as_str(), path) {
            ("GET", METADATA) => request.header("metadata-flavor") == Some("Google"),
            ("POST", "/token") => {
                let body = request.json();
                let login = self.state().login.clone();
                login.is_some() && body["refresh_token"].as_str() == login.as_deref()
            }
            _ => return None,
        };
        if !is_known {
            return Some(Err(ApiFailure::new(
                400,
                "invalid_grant",
                "Token has been expired or revoked.",
            )));
        }
        let mut state = self.state();
        state.given += 1;
        let token = format!("ya29.canary-script-token-{:04}", state.given);
        state.tokens.push(token.clone());
        Some(Ok(
            json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" }),
        ))
    }
}

pub(super) fn error_status(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

/// `…/publishers/anthropic/models/NAME:rawPredict` and its like.
pub(super) fn asked(path: &str) -> Asked {
    let Some((model, verb)) = path
        .split_once("/publishers/anthropic/models/")
        .and_then(|(_, rest)| rest.split_once(':'))
    else {
        return Asked::default();
    };
    let stream = match verb {
        "rawPredict" => false,
        "streamRawPredict" => true,
        _ => return Asked::default(),
    };
    let counts = model == "count-tokens";
    Asked {
        path: Some(if counts {
            "/v1/messages/count_tokens"
        } else {
            "/v1/messages"
        }),
        model: (!counts).then(|| model.to_owned()),
        stream: Some(stream),
    }
}
