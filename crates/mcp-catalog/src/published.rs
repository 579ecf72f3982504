//! Published configurations: drafted, judged, signed, stored under their content, compared.
//!
//! ```text
//!  servers.toml ── profile ──┐
//!                            ├─▶ what would be published ── validate ── publish ─▶ artifact ── verify ─▶ deployed
//!  draft (own choice) ───────┘            └───────────────── diff ───────────────────┘
//! ```
//!
//! A draft is a client's own choice of declared servers; without one its profile of `servers.toml` is the choice. It stays
//! until it is cleared, also after it was published. An artifact is never changed: it is signed as a whole and its name is
//! the address of its content.

mod artifact;
mod draft;
mod drift;
mod envelope;
mod id;
mod key;
mod publish;
#[cfg(test)]
mod tests;
mod validation;

pub(crate) use self::artifact::ArtifactCache;
pub use self::artifact::{Artifact, Verified};
pub use self::draft::{Draft, ProfileSummary};
pub use self::drift::{ChangeKind, Drift, DriftStatus, ServerChange};
pub use self::id::{ClientId, DraftKey};
pub use self::key::KeyInfo;
pub use self::validation::{Problem, Validation};
