//! The configuration of MCP servers: what the operator declared, a client's draft of it, and what was published.

use super::Named;

/// These tools.
pub(super) fn tools(_deploys: bool) -> Vec<Named> {
    Vec::new()
}
