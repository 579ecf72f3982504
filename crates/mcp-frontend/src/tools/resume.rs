//! `resume_session`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hints, SessionView, Spec, Tool};
use crate::args;
use crate::call::{Call, Stop};

/// See the module.
pub(super) struct Resume;

/// What `resume_session` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// The session.
    session_id: String,
}

/// What `resume_session` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The session.
    #[serde(flatten)]
    session: SessionView,
    /// What to do next.
    message: String,
}

impl Tool for Resume {
    const SPEC: Spec = Spec {
        name: "resume_session",
        title: "Resume a session",
        description: "Brings an interrupted session back, whose container was lost: with its workspace and its \
            conversation. What was under way is not run again; prompts that waited go on with `onInterrupt: \"resume\"`, and have \
            failed otherwise. Also lets a paused session go on.",
        hints: Hints {
            read_only: false,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let id = args::session_id(&args.session_id)?;
        call.core.api.resume(&id).await?;
        let info = call.core.api.session(&id).await?;
        Ok(Output {
            session: SessionView::new(&info),
            message: "It goes on. A prompt that was interrupted is not run again: execute_in_session tells the agent to go \
                on where it was."
                .to_owned(),
        })
    }
}
