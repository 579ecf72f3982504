//! Tokens: made, listed and revoked by those who may do everything.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::response::{IntoResponse, Response};
use http_api::{SurfaceCode, TokenBody, TokenCreated, TokenInfo, paths};
use jiff::{SignedDuration, Timestamp};

use super::openapi::answers::{Basic, Keeping, WithBody};
use super::route::Route;
use crate::audit;
use crate::caller::RequireAdmin;
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;
use crate::tokens::NewToken;

/// The tokens, oldest first, without their secrets.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "list_tokens",
    tag = "tokens",
    responses((status = 200, description = "The tokens.", body = Vec<TokenInfo>), Basic, Keeping)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    _: RequireAdmin,
) -> Result<Json<Vec<TokenInfo>>, Failure> {
    let tokens = state.tokens()?;
    state.blocking(move || tokens.list()).await.map(Json)
}

/// Makes a token. Its secret is told this once.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "create_token",
    tag = "tokens",
    request_body = TokenBody,
    responses(
        (status = 201, description = "The token and its secret.", body = TokenCreated,
            headers(("Location" = String, description = "Its address."))),
        (status = 409, description = "There is a token of this name.", body = http_api::Problem, content_type = "application/problem+json"),
        Basic, Keeping, WithBody
    )
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    RequireAdmin(caller): RequireAdmin,
    Json(body): Json<TokenBody>,
) -> Result<Response, Failure> {
    let token = NewToken {
        name: body.name,
        scope: body.scope,
        all_sessions: body.all_sessions,
        expires_at: body.expires_in_s.map(expiry).transpose()?,
    };
    let tokens = state.tokens()?;
    let act = ("create_token", named(&token.name));
    let creating = state.clone();
    // To its end with its line, whatever becomes of the connection.
    let (info, secret) = state
        .detached(async move {
            let made = creating.blocking(move || tokens.create(token)).await;
            audit::concluded(&creating, &caller, act, made).await
        })
        .await?;
    let location = [(LOCATION, paths::token(&info.name))];
    let made = TokenCreated {
        info,
        token: secret.into(),
    };
    // No cache keeps a secret.
    Ok((
        StatusCode::CREATED,
        location,
        [(CACHE_CONTROL, "no-store")],
        Json(made),
    )
        .into_response())
}

/// A name as a line tells it: what is none is not repeated.
fn named(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.len() <= http_api::token::MAX_NAME_BYTES && name.chars().all(plain) {
        format!("token {name}")
    } else {
        "a name that is none".to_owned()
    }
}

fn expiry(seconds: u64) -> Result<Timestamp, Failure> {
    let duration = i64::try_from(seconds).ok().map(SignedDuration::from_secs);
    duration
        .filter(|_| (1..=http_api::token::MAX_EXPIRY_S).contains(&seconds))
        .and_then(|duration| Timestamp::now().checked_add(duration).ok())
        .ok_or_else(|| {
            let most = http_api::token::MAX_EXPIRY_S;
            Failure::new(
                SurfaceCode::BadRequest,
                format!("expires_in_s is not between 1 and {most}"),
            )
        })
}

/// Revokes a token: it opens nothing from now on, and streams that it opened are cut within seconds.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{name}",
    operation_id = "revoke_token",
    tag = "tokens",
    params(("name" = String, Path, description = "The token's name.")),
    responses(
        (status = 204, description = "It is revoked."),
        (status = 404, description = "There is no token of this name.", body = http_api::Problem, content_type = "application/problem+json"),
        Basic, Keeping
    )
)]
pub(crate) async fn revoke(
    State(state): State<AppState>,
    RequireAdmin(caller): RequireAdmin,
    Route(name): Route<String>,
) -> Result<StatusCode, Failure> {
    let tokens = state.tokens()?;
    let act = ("revoke_token", named(&name));
    let revoking = state.clone();
    state
        .detached(async move {
            let revoked = revoking.blocking(move || tokens.revoke(&name)).await;
            audit::concluded(&revoking, &caller, act, revoked).await
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
