//! `destroy_session`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::error::ErrorKind;
use session_core::turn::TurnStatus;

use super::{Hints, Spec, Tool};
use crate::args;
use crate::call::{Call, Stop};
use crate::failure::Failure;
use crate::tasks::TaskId;

/// See the module.
pub(super) struct Destroy;

/// What `destroy_session` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// The session.
    session_id: String,
    /// Destroy it although prompts run or wait in it.
    force: Option<bool>,
}

/// What `destroy_session` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The session.
    session_id: String,
    /// Always true: what is not destroyed is an error.
    destroyed: bool,
    /// What is left.
    message: String,
}

impl Tool for Destroy {
    const SPEC: Spec = Spec {
        name: "destroy_session",
        title: "Destroy a session",
        description: "Removes a session: its container and all files that are only in it. Fetch what you need first: \
            get_session_diff has the agent's changes. Its log stays readable. Destroying it again succeeds. While prompts \
            run or wait it refuses, unless force is true.",
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
        let api = &call.core.api;
        if args.force != Some(true) {
            let turns = api.turns(&id).await?;
            let open = turns
                .iter()
                .find(|turn| matches!(turn.status, TurnStatus::Running | TurnStatus::Queued));
            let details = match open {
                Some(_) => Some(api.inspect(&id).await?),
                None => None,
            };
            if let (Some(turn), Some(details)) = (open, details)
                && details
                    .info
                    .state
                    .permits(session_core::state::Operation::Prompt)
                    .is_ok()
            {
                return Err(Failure::of(
                    ErrorKind::StateConflict,
                    format!(
                        "the session works: task {} is not finished",
                        TaskId::of_turn(turn)
                    ),
                    "wait for it (wait_task), interrupt it (interrupt_session), or say force: true",
                )
                .into());
            }
        }
        api.destroy(&id).await?;
        call.core.changes.nudge();
        Ok(Output {
            session_id: id.to_string(),
            destroyed: true,
            message: "The container and everything that was only in it are gone; get_session_logs still reads its log."
                .to_owned(),
        })
    }
}
