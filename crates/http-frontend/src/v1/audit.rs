//! The audit log, for those who may do everything.

use http_api::query::AuditLinesQuery;
use session_core::audit::{AuditLine, AuditVerdict};

use super::openapi::answers::Basic;
use super::query::Query;
use crate::caller::{Api, RequireAdmin};
use crate::json::Json;
use crate::problem::Failure;

/// Lines of the audit log, in ascending order.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "list_audit",
    tag = "audit",
    params(AuditLinesQuery),
    responses((status = 200, description = "The lines.", body = Vec<AuditLine>), Basic)
)]
pub(crate) async fn lines(
    _: RequireAdmin,
    Api(api): Api,
    Query(query): Query<AuditLinesQuery>,
) -> Result<Json<Vec<AuditLine>>, Failure> {
    Ok(Json(api.audit(query.into()).await?))
}

/// Reads the whole audit log and says whether it is as it was written. Takes as long as the log is long.
#[utoipa::path(
    get,
    path = "/v1/audit/verify",
    operation_id = "verify_audit",
    tag = "audit",
    responses((status = 200, description = "What was found.", body = AuditVerdict), Basic)
)]
pub(crate) async fn verify(_: RequireAdmin, Api(api): Api) -> Result<Json<AuditVerdict>, Failure> {
    Ok(Json(api.verify_audit().await?))
}
