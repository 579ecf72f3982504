//! The HTTP API: every operation of the lifecycle API, its events and its terminals, for any client.
//!
//! One surface stands in front of everything that is served: who calls (socket peer or token), under which name (Host),
//! from which page (Origin), how often and how much. What is behind it (`v1`, `compat`, a mounted MCP endpoint) gets a
//! [`caller::Caller`] that was let in, and an API that shows nothing but what this caller may see.
//!
//! ```text
//!  socket ─┐            ┌───────────── surface ─────────────┐   ┌─ v1 ─────┐
//!  TCP ────┼─▶ accept ─▶│ Host ▸ Origin ▸ token ▸ rate ▸ log │─▶ ├─ compat ─┼─▶ Scoped ─▶ dyn SessionApi
//!  TLS ────┘   bounds   └───────────────────────────────────┘   └─ /mcp ───┘
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`], [`server`], [`listen`] | settings, serving, the Unix socket and TLS |
//! | [`state`], [`caller`] | what handlers get |
//! | [`json`], [`problem`] | bodies in, failures out |
//! | [`tokens`] | named tokens, hashed at rest |
//! | `scoped` | the lifecycle API as one caller sees it |
//! | `audit` | what is written of callers beside what they do to sessions |
//! | `v1`, `compat` | the routes |

mod accept;
mod audit;
mod beneath;
mod body;
pub mod caller;
mod compat;
mod connection;
mod depth;
pub mod json;
pub mod listen;
pub mod metrics;
mod mount;
pub mod options;
mod probes;
pub mod problem;
mod scoped;
pub mod server;
pub mod state;
mod surface;
pub mod tokens;
mod v1;

pub use self::compat::CompatOptions;
pub use self::listen::{Listeners, ServerSocket, TlsConfig, bind_socket};
pub use self::mount::Mounted;
pub use self::options::{HttpOptions, Rate};
pub use self::server::{HttpServer, PreparedServer};
pub use self::state::{AppState, ServerControl};
pub use self::v1::description;
