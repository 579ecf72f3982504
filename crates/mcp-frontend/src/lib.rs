//! The MCP server: everything a session can do, for any MCP client.
//!
//! A client is often an agent itself, so what it gets back is enough to act on without a person: structured results
//! with their sizes, failures with a code, a cause and a hint, progress from the first second, tasks that outlive the
//! connection. The server consumes [`session_core::api::SessionApi`], and [`mcp_catalog::Catalog`] for the
//! configuration of MCP servers.
//!
//! ```text
//!  stdio ── wire/lines ──┐                       ┌─ tasks/ ───┐
//!                        ├─▶ rmcp ─▶ handler.rs ─┼─ resources/┼─▶ dyn SessionApi
//!  HTTP ─── http/ ───────┘                       └─ tools/ ───┴─▶ Catalog, dyn Deployer
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`] | settings, resolved |
//! | `wire` | messages before the protocol library sees them: bounds, arguments taken out; the stdio transport |
//! | `http` | streamable HTTP: token, Host, Origin, bounds |
//! | `handler` | the protocol's requests |
//! | `tools`, `args`, `output`, `schema` | one file a tool; what they take and give |
//! | `configuration` | what the tools about MCP servers work on |
//! | `tasks`, `book` | prompts and commands that somebody comes back to; output kept for paging |
//! | `keeper` | prompts that go on when this process ends |
//! | `resources` | `session://…` |
//! | [`clients`] | the configuration of clients: snippets, and merging them into a file |

mod activity;
mod args;
mod book;
mod call;
pub mod clients;
mod configuration;
mod core;
mod failure;
mod handler;
mod http;
mod instructions;
mod keeper;
mod making;
pub mod options;
mod output;
mod reaper;
mod resources;
mod schema;
mod server;
mod tasks;
mod text;
mod tools;
mod transfer;
mod watch;
mod wire;

pub use self::configuration::{Deployed, Deployer, Deployment};
pub use self::http::{HttpOptions, McpService, ServiceOptions};
pub use self::keeper::TurnKeeper;
pub use self::options::{McpOptions, Toolset};
pub use self::server::McpServer;
