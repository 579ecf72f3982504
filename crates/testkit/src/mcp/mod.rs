//! A small MCP server that does what a test wants: small tools over stdio and streamable HTTP, and every way in which a
//! server goes wrong.
//!
//! It is written by hand against the specification (revisions 2025-06-18 and 2025-11-25), and shares no code with what it
//! tests: the gateway and its library meet another implementation here, as they do outside.
//!
//! Over stdio it is a program of its own, `testkit-mcp-server`, because a supervisor is tested with processes. Find it with
//! [`server_path`] and say with arguments what it does; [`Options::from_args`] lists them. Over HTTP it is that program, or
//! [`HttpServer`] within the test:
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use testkit::mcp::{HttpServer, Options, server_path};
//!
//! // What a servers.toml says of it: `command = "…/testkit-mcp-server"`, `args = ["--mode", "answer-twice"]`.
//! let program = server_path()?;
//!
//! let server = HttpServer::start(Options { bearer: Some("the-secret".into()), ..Options::default() }).await?;
//! // … have the gateway call server.url() …
//! assert_eq!(server.authorizations(), ["Bearer the-secret"]);
//! # Ok(()) }
//! ```
//!
//! Its tools:
//!
//! | tool | does |
//! |---|---|
//! | `echo {text}` | answers the text; read-only |
//! | `add {a, b}` | answers the sum as text and as structured content; idempotent |
//! | `secret_length` | says how long the variable `SECRET`, or the bearer of the request, is; never what it is |
//! | `env_names` | the names of its environment's variables |
//! | `whoami` | `{pid, calls}`: which process this is, and how many calls it has had |
//! | `sleep {ms}` | answers after that time, with progress meanwhile when it was asked for; can be cancelled |
//! | `big {bytes}` | a text of that length |
//! | `fail` | a result that says it failed |
//! | `refuse` | a JSON-RPC error |
//! | `crash` | ends the process without an answer, with exit code 42 |
//! | `hang` | never answers |
//! | `flood {messages}` | that many log messages before the answer |
//! | `change_tools` | describes `echo` otherwise and has a tool `extra`, or takes both back; tells that the list changed |
//! | `elicit {message}` | asks the client, and answers what it said |
//!
//! All of them are counted, and written down before they do anything where [`Options::journal`] says.

mod http;
mod options;
mod orphan;
mod path;
mod session;
mod stdio;
mod tools;

#[cfg(test)]
mod tests;

pub use self::http::HttpServer;
pub use self::options::{Mode, Options, Transport};
pub use self::path::server_path;
pub use self::stdio::{CRASHED, REFUSED, run};
