//! `interrupt_session`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hints, Spec, Tool};
use crate::args;
use crate::call::{Call, Stop};

/// See the module.
pub(super) struct Interrupt;

/// What `interrupt_session` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// The session.
    session_id: String,
}

/// What `interrupt_session` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The session.
    session_id: String,
    /// Whether anything was running or waiting.
    interrupted: bool,
    /// What to do next.
    message: String,
}

impl Tool for Interrupt {
    const SPEC: Spec = Spec {
        name: "interrupt_session",
        title: "Interrupt the agent",
        description: "Stops what the agent of a session does now and takes back all prompts that wait. The session, its \
            files and its conversation stay; prompt it again to steer it elsewhere. To stop one task only, use \
            cancel_task.",
        hints: Hints {
            read_only: false,
            destructive: true,
            idempotent: true,
            open_world: false,
        },
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let id = args::session_id(&args.session_id)?;
        let interrupted = call.core.api.interrupt(&id).await?;
        let message = if interrupted {
            "The agent was interrupted. execute_in_session gives it other work; get_session_diff shows what it did."
        } else {
            "Nothing was running."
        };
        Ok(Output {
            session_id: id.to_string(),
            interrupted,
            message: message.to_owned(),
        })
    }
}
