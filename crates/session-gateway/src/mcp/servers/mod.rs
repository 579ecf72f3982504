//! The servers that work for sessions, each supervised by an owner of its own.
//!
//! ```text
//!  door ──▶ Server ──▶ Instance ══ queue ══▶ Keeper ── Life (pure)          registry: which instances there are, for whom
//!             │            ▲    ◀═ watches ══   │                           shelf: what is known without asking
//!             └── Live ────┘                    ├── start, errands          news: what sessions are told
//!                  │ calls, tap, client         └── Link (one connection)   places: how many may run
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `state` | what may be done with an instance when; a pure function |
//! | `keeper`, `start`, `errands` | the owner of an instance and what it does |
//! | `instance`, `server` | handles: on an instance, and as one session sees it |
//! | `live`, `calls`, `tap`, `client` | a connection in use: calls under way, and what the server says meanwhile |
//! | `manifest`, `offer`, `shelf` | what a server has, cleaned, judged, kept |
//! | `clean`, `result` | text made fit for a model |
//! | `hub`, `news` | what sessions are told |
//! | `connect` | the seam to `upstream` |

mod calls;
mod clean;
mod client;
mod connect;
mod errands;
mod hub;
mod instance;
mod keeper;
mod live;
mod manifest;
mod news;
mod offer;
mod places;
mod registry;
mod result;
mod server;
mod shelf;
mod start;
mod state;
mod tap;
#[cfg(test)]
mod tests;

pub(crate) use self::hub::Change;
pub(crate) use self::offer::Offer;
pub(crate) use self::registry::Registry;
pub(crate) use self::server::Server;
pub(in crate::mcp) use self::tap::{Inlet, Tap};
