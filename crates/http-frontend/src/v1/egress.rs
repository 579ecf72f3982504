//! Hosts that sealed sessions may reach: who waits for a decision, and what was decided.

use axum::extract::State;
use http_api::DecideEgressBody;
use http_api::query::OfSessionQuery;
use session_core::egress::{DecideEgress, EgressDecision, EgressRequest};

use super::openapi::answers::{Basic, OfSession, WithBody};
use super::query::Query;
use crate::caller::{Api, RequireUse};
use crate::json::Json;
use crate::problem::Failure;
use crate::state::AppState;

/// The hosts that sessions were denied and about which nobody has decided yet; the one that was denied last comes first.
#[utoipa::path(
    get,
    path = "/v1/egress/requests",
    operation_id = "list_egress_requests",
    tag = "egress",
    params(OfSessionQuery),
    responses((status = 200, description = "The requests.", body = Vec<EgressRequest>), Basic, OfSession)
)]
pub(crate) async fn requests(
    Api(api): Api,
    Query(query): Query<OfSessionQuery>,
) -> Result<Json<Vec<EgressRequest>>, Failure> {
    Ok(Json(api.egress_requests(query.session.as_ref()).await?))
}

/// The decisions that hold for a session, those for all among them; every decision without one. Newest first.
#[utoipa::path(
    get,
    path = "/v1/egress/decisions",
    operation_id = "list_egress_decisions",
    tag = "egress",
    params(OfSessionQuery),
    responses((status = 200, description = "The decisions.", body = Vec<EgressDecision>), Basic, OfSession)
)]
pub(crate) async fn decisions(
    Api(api): Api,
    Query(query): Query<OfSessionQuery>,
) -> Result<Json<Vec<EgressDecision>>, Failure> {
    Ok(Json(api.egress_decisions(query.session.as_ref()).await?))
}

/// Decides whether hosts may be reached, by one session or by all. It holds from the next connection on; deciding the
/// opposite replaces it. For all sessions this needs the scope `admin`.
#[utoipa::path(
    post,
    path = "/v1/egress/decisions",
    operation_id = "decide_egress",
    tag = "egress",
    request_body = DecideEgressBody,
    responses((status = 200, description = "The decision.", body = EgressDecision), Basic, OfSession, WithBody)
)]
pub(crate) async fn decide(
    State(state): State<AppState>,
    _: RequireUse,
    Api(api): Api,
    Json(body): Json<DecideEgressBody>,
) -> Result<Json<EgressDecision>, Failure> {
    let decision = DecideEgress::from(body);
    let decided = state
        .detached(async move { api.decide_egress(decision).await })
        .await?;
    Ok(Json(decided))
}
