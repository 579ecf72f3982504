//! A scripted Messages API, because an agent that is tested with a real model is slow, costs money and never does the same
//! thing twice, and an agent that is replaced by a mock is not tested at all. The real agent talks to this server; only the
//! model's words come from a [`Script`].
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use serde_json::json;
//! use testkit::model::{ModelServer, Script};
//!
//! let script = Script::new().tool("Bash", json!({ "command": "cat calc.py" })).say("There is no bug.");
//! let server = ModelServer::start(script).await?;
//! // … start the agent with ANTHROPIC_BASE_URL = server.url() …
//! server.wait_for_conversation(2).await;
//! assert_eq!(server.requests()[0].credential(), Some("the-key"));
//! server.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! With [`Surface`] the same script is played by AWS Bedrock or Google Vertex instead, for agents that speak their APIs.
//!
//! What the agent sends and how it reacts to each kind of failure stands in `fixtures/claude/README.md` of this crate, with
//! the recordings.

mod bedrock;
mod failure;
mod lanes;
mod message;
mod playback;
mod recorder;
mod request;
mod script;
mod server;
mod service;
mod surface;
mod vertex;
mod wire;

#[cfg(test)]
mod surface_tests;
#[cfg(test)]
mod tests;

pub use bedrock::AwsGate;
pub use failure::ApiFailure;
pub use message::{Ending, Message, Usage};
pub use request::{ApiRequest, RequestKind};
pub use script::{Gate, Reply, SCRIPT_ENDED, Script};
pub use server::ModelServer;
pub use surface::Surface;
pub use vertex::GoogleGate;
