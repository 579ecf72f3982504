//! Commands: what is to be run, what came of it, and the frames between a command and its reader.

mod answer;
mod frames;
mod stdin;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use session_core::command::{CommandRequest, OnDisconnect};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

pub use self::answer::{CommandAccepted, CommandAnswer};
pub use self::frames::{CommandClientFrame, CommandNotice, CommandServerFrame, OutputFrame};
pub use self::stdin::Stdin;
use crate::object::objects;
use crate::octets::{self, Octets};
use crate::patterns;
use crate::query::{from_ms, safe, to_ms};
use crate::session::Environment;

/// A command to be run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"argv": ["cargo", "test"], "cwd": "crates/core", "time_limit_ms": 600_000}))]
pub struct CommandBody {
    /// The argument vector; the first is looked up in the `PATH`. At most 1 MiB together.
    #[schema(value_type = ArgumentVector)]
    pub argv: Vec<Octets>,
    /// Added to the session's environment. No secrets: whatever runs inside can read it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Environment)]
    pub env: BTreeMap<String, String>,
    /// Where it runs, absolute or relative to the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = r"^[^\x00]+$", min_length = 1, max_length = 4_095)]
    pub cwd: Option<String>,
    /// Its standard input: the whole of it, or `true` when it follows (in binary frames, or by requests of its own for a
    /// detached command). Empty when it is left out.
    #[serde(default, skip_serializing_if = "Stdin::is_empty")]
    pub stdin: Stdin,
    /// After how many milliseconds the whole process tree is ended; never when it is left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991u64)]
    pub time_limit_ms: Option<u64>,
    /// After how many bytes of output the whole process tree is ended; never when it is left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::query::natural"
    )]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991u64)]
    pub output_limit: Option<u64>,
    /// Whether it goes on when its caller goes away. Its output is kept then and can be read later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detach: bool,
    /// The same key in the same session gives the same command: a second request comes back to the first. Only with
    /// `detach`. The header `Idempotency-Key` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]+$", min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
}

/// A signal to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"signal": 15}))]
pub struct SignalBody {
    /// Its number, as Linux counts them.
    #[serde(deserialize_with = "signal")]
    #[schema(value_type = SignalNumber)]
    pub signal: i32,
}

impl CommandBody {
    /// The core's request, and the standard input to write when all of it came along.
    pub fn into_request(self) -> (CommandRequest, Option<Vec<u8>>) {
        let request = CommandRequest {
            argv: self.argv.into_iter().map(Into::into).collect(),
            env: self.env,
            cwd: self.cwd,
            stdin: self.stdin != Stdin::Empty,
            time_limit: self.time_limit_ms.map(from_ms),
            output_limit: self.output_limit,
            on_disconnect: if self.detach {
                OnDisconnect::Detach
            } else {
                OnDisconnect::Cancel
            },
            idempotency_key: self.idempotency_key,
        };
        let data = match self.stdin {
            Stdin::Data(octets) => Some(octets.into()),
            Stdin::Empty | Stdin::Open => None,
        };
        (request, data)
    }
}

impl From<CommandRequest> for CommandBody {
    fn from(request: CommandRequest) -> Self {
        Self {
            argv: request.argv.into_iter().map(Octets).collect(),
            env: request.env,
            cwd: request.cwd,
            stdin: if request.stdin { Stdin::Open } else { Stdin::Empty },
            time_limit_ms: request.time_limit.map(to_ms),
            output_limit: request.output_limit.map(safe),
            detach: request.on_disconnect == OnDisconnect::Detach,
            idempotency_key: request.idempotency_key,
        }
    }
}

fn signal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    crate::object::whole::<D, u16>(deserializer).map(i32::from)
}

/// The schema of the signals that can be sent.
#[derive(Debug)]
pub enum SignalNumber {}

impl PartialSchema for SignalNumber {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("HUP, INT, QUIT, KILL, USR1, USR2, TERM, CONT or STOP."))
            .enum_values(Some([1, 2, 3, 9, 10, 12, 15, 18, 19]))
            .into()
    }
}

impl ToSchema for SignalNumber {}

/// The longest argument, in bytes.
const MAX_ARGUMENT: usize = (128 << 10) - 1;
/// The schema of an argument vector: its first element is not empty.
#[derive(Debug)]
pub enum ArgumentVector {}

impl PartialSchema for ArgumentVector {
    fn schema() -> RefOr<Schema> {
        let argument = || {
            octets::schema(r"^[^\x00]*$", patterns::BASE64_NO_NUL)
                .description(Some("An argument, without NUL."))
        };
        let program = octets::schema(r"^[^\x00]+$", &patterns::BASE64_NO_NUL.replacen('^', "^(?=.)", 1))
            .description(Some("The program."));
        ArrayBuilder::new()
            .prefix_items([Schema::from(program.build())])
            .items(argument())
            .min_items(Some(1))
            .into()
    }
}

impl ToSchema for ArgumentVector {}

/// The schema of an argument vector that is text.
#[derive(Debug)]
pub enum ArgumentTexts {}

impl PartialSchema for ArgumentTexts {
    fn schema() -> RefOr<Schema> {
        let text = |pattern: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some(pattern))
                .max_length(Some(MAX_ARGUMENT))
        };
        ArrayBuilder::new()
            .prefix_items([Schema::from(text(r"^[^\x00]+$").build())])
            .items(text(r"^[^\x00]*$"))
            .min_items(Some(1))
            .into()
    }
}

impl ToSchema for ArgumentTexts {}

objects!(CommandBody, SignalBody);
