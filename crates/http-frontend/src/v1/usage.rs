//! What was used of the model.

use http_api::query::OfSessionQuery;
use session_core::budget::Spent;

use super::openapi::answers::{Basic, OfSession};
use super::query::Query;
use crate::caller::Api;
use crate::json::Json;
use crate::problem::Failure;

/// What a session used of the model, or all that ever were; and all today.
#[utoipa::path(
    get,
    path = "/v1/usage",
    operation_id = "usage",
    tag = "usage",
    params(OfSessionQuery),
    responses((status = 200, description = "What was used.", body = Spent), Basic, OfSession)
)]
pub(crate) async fn usage(
    Api(api): Api,
    Query(query): Query<OfSessionQuery>,
) -> Result<Json<Spent>, Failure> {
    Ok(Json(api.usage(query.session.as_ref()).await?))
}
