//! Version 1 of the API.

use axum::Router;

use crate::state::AppState;

/// The routes under `/v1`.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
}
