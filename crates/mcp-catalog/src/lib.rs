//! The MCP servers that an operator has declared, and what was approved and published of them.
//!
//! Files only: no network, no processes, no protocol. The gateway holds the servers that are declared here; the front ends
//! declare, publish and approve. Everything that is written is whole or not at all, and nothing written holds a secret.
//!
//! ```text
//! servers.toml                      the operator's, see [`Declared`]
//! <state>/storage/mcp/
//!   manifests/<server>.<..>.json    what servers said about themselves, see [`Manifest`]
//!   approvals/<server>.json         which of their tools people know, see [`Catalog::judge`]
//!   drafts/<client>.<profile>.json  see [`Draft`]
//!   artifacts/<sha256>.json         what was published, see [`Artifact`]
//!   publications/..                 in which order
//! <state>/keys/                     what signs it, see [`KeyInfo`]
//! ```

mod approval;
mod catalog;
mod declared;
mod definition;
mod digest;
mod edit;
mod files;
mod flaw;
mod import;
mod manifest;
pub mod own;
mod published;
#[cfg(test)]
mod testing;

pub use approval::{Change, HeldTool, Judgement, PendingTool, tool_digest};
pub use catalog::{Catalog, CatalogPaths};
pub use declared::{Configuration, Declared, Profile, admits};
pub use definition::{
    Approval, Mount, Names, OAuth, SecretValue, ServerDefinition, Sharing, Times, ToolFilter, Transport,
    Value, matches,
};
pub use digest::{Digest, canonical};
pub use import::{Import, Imported, SecretToMove};
pub use manifest::Manifest;
pub use published::{
    Artifact, ChangeKind, ClientId, Draft, DraftKey, Drift, DriftStatus, KeyInfo, Problem, ProfileSummary,
    ServerChange, Validation, Verified,
};
