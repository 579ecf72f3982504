//! `list_checkpoints` and `restore_session`: uncommitted work that outlives its container.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::checkpoint::{Checkpoint, CheckpointCause, RestoreRequest};
use session_core::id::CheckpointId;

use super::{Hints, SessionView, Spec, Tool};
use crate::args::{self, given};
use crate::call::{Call, Stop};
use crate::failure::Failure;
use crate::text::one_line;

/// How many checkpoints stand in one result.
const MAX_CHECKPOINTS: usize = 100;

/// `list_checkpoints`.
pub(super) struct ListCheckpoints;

/// What `list_checkpoints` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListArgs {
    /// The session; it may have ended.
    session_id: String,
}

/// What `list_checkpoints` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListOutput {
    /// The session.
    session_id: String,
    /// Newest first.
    checkpoints: Vec<CheckpointView>,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct CheckpointView {
    /// What restore_session takes.
    checkpoint_id: String,
    /// When it was taken (RFC 3339).
    taken_at: String,
    /// turn: after a prompt. timer: while one ran. asked: when somebody asked. destroy: at the session's end.
    cause: &'static str,
    /// How many files it changes.
    files: u64,
    /// The size of its patch.
    patch_bytes: u64,
}

impl CheckpointView {
    fn new(checkpoint: &Checkpoint) -> Self {
        Self {
            checkpoint_id: checkpoint.id.to_string(),
            taken_at: checkpoint.at.to_string(),
            cause: match checkpoint.cause {
                CheckpointCause::Turn => "turn",
                CheckpointCause::Timer => "timer",
                CheckpointCause::Asked => "asked",
                CheckpointCause::Destroy => "destroy",
            },
            files: checkpoint.files,
            patch_bytes: checkpoint.bytes,
        }
    }
}

impl Tool for ListCheckpoints {
    const SPEC: Spec = Spec {
        name: "list_checkpoints",
        title: "List a session's checkpoints",
        description: "What was kept of a session's uncommitted work, newest first: after every prompt, every few minutes \
            while one runs, and at its end. Also of a session that is gone. restore_session brings one back.",
        hints: Hints::READS,
    };
    type Args = ListArgs;
    type Output = ListOutput;

    async fn run(args: ListArgs, call: &Call) -> Result<ListOutput, Stop> {
        let id = args::session_id(&args.session_id)?;
        let checkpoints = call.core.api.checkpoints(&id).await?;
        Ok(ListOutput {
            session_id: id.to_string(),
            checkpoints: checkpoints
                .iter()
                .take(MAX_CHECKPOINTS)
                .map(CheckpointView::new)
                .collect(),
        })
    }
}

/// `restore_session`.
pub(super) struct RestoreSession;

/// What `restore_session` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RestoreArgs {
    /// The session whose work it is; it may have ended.
    session_id: String,
    /// The checkpoint; the newest when absent.
    checkpoint_id: Option<String>,
    /// The same key gives the same session: send it again after a failure without making a second one.
    idempotency_key: Option<String>,
}

/// What `restore_session` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RestoreOutput {
    /// The session that has the work now.
    #[serde(flatten)]
    session: SessionView,
    /// Whether it is a new one.
    is_new: bool,
}

impl Tool for RestoreSession {
    const SPEC: Spec = Spec {
        name: "restore_session",
        title: "Bring a session's work back",
        description: "Brings the uncommitted work of a checkpoint back: into the session itself when it lives and its \
            workspace is as it began, otherwise into a new session that is made as that one was. Use it after a session was \
            destroyed or lost.",
        hints: Hints {
            read_only: false,
            destructive: false,
            idempotent: false,
            open_world: false,
        },
    };
    type Args = RestoreArgs;
    type Output = RestoreOutput;

    async fn run(args: RestoreArgs, call: &Call) -> Result<RestoreOutput, Stop> {
        let session = args::session_id(&args.session_id)?;
        let checkpoint = given(args.checkpoint_id.as_deref())
            .map(checkpoint_id)
            .transpose()?;
        let request = RestoreRequest {
            session,
            checkpoint,
            owner: None,
            idempotency_key: given(args.idempotency_key.as_deref()).map(str::to_owned),
        };
        let info = call.core.api.restore(request).await?;
        Ok(RestoreOutput {
            is_new: info.id != session,
            session: SessionView::new(&info),
        })
    }
}

fn checkpoint_id(text: &str) -> Result<CheckpointId, Failure> {
    text.parse().map_err(|_| {
        Failure::invalid(
            format!(
                "checkpointId: `{}` is not the id of a checkpoint",
                one_line(text, 60)
            ),
            "use an id as list_checkpoints gives it",
        )
    })
}
