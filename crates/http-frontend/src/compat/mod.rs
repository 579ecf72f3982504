//! The interface that existed before, for its clients.

use axum::Router;

use crate::state::AppState;

/// Its routes: `/`, `/health` and those under `/claude-code`.
pub(crate) fn router() -> Router<AppState> {
    Router::new()
}
