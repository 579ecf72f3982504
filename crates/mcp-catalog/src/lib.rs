//! The MCP servers that an operator has declared, and what was approved and published of them.
//!
//! Files only: no network, no processes, no protocol. The gateway holds the servers that are declared here; the front ends
//! declare, publish and approve. Everything that is written is whole or not at all, and nothing written holds a secret.

mod catalog;
mod definition;

pub use catalog::{Catalog, CatalogPaths};

pub use definition::{
    Approval, Mount, Names, OAuth, SecretValue, ServerDefinition, Sharing, Times, ToolFilter, Transport,
    Value, matches,
};
