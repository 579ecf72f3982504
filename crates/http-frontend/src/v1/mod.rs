//! Version 1 of the API: the lifecycle API, one route for each operation.
//!
//! | module | what it serves |
//! |---|---|
//! | `sessions`, `checkpoints`, `turns`, `events`, `commands`, `files`, `terminals` | one session and what is in it |
//! | `egress`, `usage`, `mcp` | what is about one session or about all |
//! | `tokens`, `server`, `audit` | the server itself |
//! | `openapi` | the description of all that, made of the same definitions |
//!
//! What changes something runs to its end, whatever becomes of the connection that asked for it; what only looks ends
//! with it. A command that was not detached is the exception that its caller asks for: it ends with its connection.

mod audit;
mod checkpoints;
mod commands;
mod egress;
mod events;
mod files;
mod idempotency;
mod mcp;
mod openapi;
mod prefer;
mod query;
mod route;
mod server;
mod sessions;
mod sse;
mod terminals;
mod tokens;
mod turns;
mod usage;
mod ws;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

pub use self::openapi::description;

/// The routes under `/v1`.
pub(crate) fn router() -> Router<AppState> {
    let (router, _) = described().split_for_parts();
    router.merge(openapi::router())
}

/// Each route with its description.
fn described() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(sessions::list, sessions::create))
        .routes(routes!(sessions::get, sessions::destroy))
        .routes(routes!(sessions::details))
        .routes(routes!(sessions::pause))
        .routes(routes!(sessions::resume))
        .routes(routes!(sessions::interrupt))
        .routes(routes!(sessions::renew_lease))
        .routes(routes!(checkpoints::list, checkpoints::take))
        .routes(routes!(checkpoints::patch))
        .routes(routes!(checkpoints::restore))
        .routes(routes!(turns::list, turns::prompt))
        .routes(routes!(turns::get))
        .routes(routes!(turns::interrupt))
        .routes(routes!(events::page))
        .routes(routes!(events::stream))
        .routes(routes!(commands::run::run))
        .routes(routes!(commands::socket::start))
        .routes(routes!(commands::socket::attach))
        .routes(routes!(commands::follow::events))
        .routes(routes!(commands::steer::signal))
        .routes(routes!(commands::steer::stdin))
        .routes(routes!(files::download, files::upload))
        .routes(routes!(files::diff))
        .routes(routes!(terminals::list, terminals::open))
        .routes(routes!(terminals::close))
        .routes(routes!(terminals::socket::attach))
        .routes(routes!(egress::requests))
        .routes(routes!(egress::decisions, egress::decide))
        .routes(routes!(usage::usage))
        .routes(routes!(mcp::servers))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(server::info))
        .routes(routes!(server::stop))
        .routes(routes!(server::collect_garbage))
        .routes(routes!(audit::lines))
        .routes(routes!(audit::verify))
}
