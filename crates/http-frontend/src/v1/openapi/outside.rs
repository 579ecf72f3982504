//! Operations that the surface serves beside version 1, described beside it: nothing here handles anything.

use super::answers::Basic;

/// Whether something is well.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "the surface writes it; this says what it looks like")]
struct Health {
    /// In one word.
    status: String,
}

#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "alive",
    tag = "server",
    description = "Whether the process lives.",
    responses((status = 200, description = "It lives.", body = Health), Basic)
)]
#[expect(dead_code, reason = "the surface serves it")]
fn alive() {}

#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = "server",
    description = "Whether the server can work: its store can be read and its engine answers.",
    responses((status = 200, description = "It can.", body = Health), Basic)
)]
#[expect(dead_code, reason = "the surface serves it")]
fn ready() {}

#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "server",
    description = "Figures, as Prometheus reads them. For those who see all sessions.",
    responses((status = 200, description = "The figures.", body = String, content_type = "text/plain"), Basic)
)]
#[expect(dead_code, reason = "the surface serves it")]
fn metrics() {}

#[derive(utoipa::OpenApi)]
#[openapi(paths(alive, ready, metrics))]
struct Outside;

pub(super) fn description() -> utoipa::openapi::OpenApi {
    <Outside as utoipa::OpenApi>::openapi()
}
