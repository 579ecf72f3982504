//! What the tests share.

use mcp_catalog::{Approval, Names, ServerDefinition, Sharing, Times, ToolFilter, Transport};

/// A definition with nothing special about it.
pub(in crate::mcp::door) fn definition() -> ServerDefinition {
    ServerDefinition {
        description: None,
        transport: Transport::Stdio {
            command: "never-run".to_owned(),
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
            cwd: None,
        },
        sharing: Sharing::default(),
        tools: ToolFilter::default(),
        idempotent: std::collections::BTreeSet::new(),
        approval: Approval::default(),
        names: Names::default(),
        times: Times::default(),
        enabled: true,
    }
}
