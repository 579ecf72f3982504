//! What the texts of the wire look like, as the description of the API tells it.
//!
//! The core judges every value itself; these patterns say the same in a form that other programs can check before they
//! ask. A test holds the two together.

/// One line of text that is not blank: names of sessions and owners.
pub const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f\xa0\u0085][^\x00-\x1f\x7f-\x9f]*$";
/// An idempotency key.
pub const KEY: &str = r"^[!-~]{1,255}$";
/// A reference to an image.
pub const IMAGE: &str = r"^[A-Za-z0-9][A-Za-z0-9_:@-][A-Za-z0-9._:@-]*(/[A-Za-z0-9_:@-][A-Za-z0-9._:@-]*)*$";
/// The name of an MCP server or of a profile.
pub const SERVER: &str = r"^[a-z0-9](_?[a-z0-9-]+)*$";
/// A pattern of tools of MCP servers.
pub const MCP_TOOL: &str = r"^[a-z0-9](_?[a-z0-9-]+)*__(\*|[A-Za-z0-9_./-]+)$";
/// A path on the host.
pub const HOST_PATH: &str = r"^/[^\x00]*$";
/// The letters of standard base64, canonical.
pub const BASE64: &str = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
/// Text without NUL.
pub const NO_NUL: &str = r"^[^\x00]*$";
