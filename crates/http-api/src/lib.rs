//! The words of the HTTP API: requests, answers, problems and frames, shared by the server and its client.
//!
//! What stands here is the wire and nothing else: no sockets, no routing, no policy. A request body is strict (a field that
//! nobody knows is refused, so that a typing error is not a silent default) and turns into the core's own type; an answer
//! is the core's type as serde writes it, or one of the few that only the wire has. Every type carries its schema, so the
//! description of the API cannot differ from what is read and written.

pub mod checkpoint;
pub mod command;
pub mod egress;
pub mod headers;
mod object;
pub mod octets;
pub mod paths;
mod patterns;
pub mod problem;
pub mod query;
pub mod secret;
pub mod server;
pub mod session;
pub mod terminal;
pub mod token;
pub mod turn;

pub use self::checkpoint::RestoreBody;
pub use self::command::{
    CommandAccepted, CommandAnswer, CommandBody, CommandClientFrame, CommandNotice, CommandServerFrame,
    OutputFrame, SignalBody, Stdin,
};
pub use self::egress::DecideEgressBody;
pub use self::octets::Octets;
pub use self::problem::{Fact, Problem, SurfaceCode};
pub use self::secret::SecretText;
pub use self::server::{GarbageBody, ServerInfo, StopBody};
pub use self::session::{
    AccountBody, BudgetBody, CreateSessionBody, CredentialsBody, LifetimeBody, LimitsBody, McpBody,
    MountBody, WorkspaceBody,
};
pub use self::terminal::{OpenTerminalBody, ProgramBody, SizeBody, TerminalClientFrame, TerminalServerFrame};
pub use self::token::{TokenBody, TokenCreated, TokenInfo, TokenScope};
pub use self::turn::{Interrupted, PromptBody};
