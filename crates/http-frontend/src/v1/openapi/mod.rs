//! The description of the API (OpenAPI 3.1), made of the routes themselves: what is not described is not served.

pub(crate) mod answers;
mod links;
mod outside;
mod rules;

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use http_api::{
    CommandClientFrame, CommandNotice, CommandServerFrame, TerminalClientFrame, TerminalServerFrame, headers,
    paths,
};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa::{Modify, PartialSchema, ToSchema};
use utoipa_axum::routes;

use crate::state::AppState;

/// What stands around the operations.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Cofferdam",
        description = "Sessions of coding agents in sealed containers: one lifecycle, over HTTP.\n\n\
            Bodies are JSON unless an operation says otherwise; times are RFC 3339, durations are in milliseconds with the \
            suffix `_ms`. Failures are problems (RFC 9457) with a stable `code`, and a `hint` where something can be done. \
            Whoever may see only sessions of their own cannot tell others' from those that never were.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(
        http_api::session::LabelText,CommandClientFrame, CommandServerFrame, CommandNotice, TerminalClientFrame, TerminalServerFrame)),
    modifiers(&Security),
    security(("token" = [])),
    tags(
        (name = "sessions", description = "A container, a workspace and an agent's conversation under one id."),
        (name = "checkpoints", description = "Uncommitted work, kept where no container can lose it."),
        (name = "turns", description = "Prompts, and everything up to their results."),
        (name = "events", description = "Facts about a session, numbered without gaps."),
        (name = "commands", description = "Programs in a session that are not its agent."),
        (name = "files", description = "What goes into a session and comes out of it."),
        (name = "terminals", description = "Programs in a session that a person sits in front of."),
        (name = "egress", description = "Hosts that sealed sessions may reach."),
        (name = "usage", description = "What was used of the model."),
        (name = "mcp", description = "MCP servers."),
        (name = "tokens", description = "Who may do what."),
        (name = "audit", description = "Who changed what, and who was refused."),
        (name = "server", description = "The server itself.")
    )
)]
struct Around;

/// How callers say who they are.
struct Security;

impl Modify for Security {
    fn modify(&self, api: &mut OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token of `cofferdam token create`. Over the Unix socket none is needed: only its owner can open it.",
            ))
            .build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// One event of a stream of server-sent events.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "a stream is written piece by piece; this says what each looks like"
)]
pub(crate) struct ServerSentEvent {
    /// Where to go on from, as `Last-Event-ID`. Not of an event named `error`.
    #[schema(nullable = false)]
    id: Option<String>,
    /// What kind of event it is.
    event: String,
    /// The event itself, as JSON.
    data: String,
}

/// The schema of bytes that are no JSON.
#[derive(Debug)]
pub(crate) enum Bytes {}

impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .into()
    }
}

impl ToSchema for Bytes {}

/// The description of the API.
pub fn description() -> serde_json::Value {
    let mut api = <Around as utoipa::OpenApi>::openapi();
    api.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let routes = super::described().routes(routes!(describe));
    api.merge(routes.into_openapi());
    api.merge(outside::description());
    // Texts and numbers alone: it can always be written.
    let mut written = serde_json::to_value(api).unwrap_or_default();
    rules::add(&mut written);
    links::add(&mut written);
    written
}

static WRITTEN: LazyLock<bytes::Bytes> = LazyLock::new(|| description().to_string().into());

pub(super) fn router() -> Router<AppState> {
    Router::new().route(paths::OPENAPI, get(describe))
}

/// This description.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "get_openapi",
    tag = "server",
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value), answers::Basic)
)]
async fn describe() -> impl IntoResponse {
    ([(CONTENT_TYPE, headers::JSON)], WRITTEN.clone())
}
