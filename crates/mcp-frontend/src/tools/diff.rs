//! `get_session_diff`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::session::WorkspaceDiff;

use super::{Hints, Spec, Tool};
use crate::args::{self, Count};
use crate::call::{Call, Stop};
use crate::output::{Changed, part};

/// How many changed paths stand in one result.
const MAX_FILES: usize = 500;

/// See the module.
pub(super) struct GetDiff;

/// What `get_session_diff` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// The session.
    session_id: String,
    /// From which byte of the patch on; nextOffset of the part before.
    offset: Option<Count>,
}

/// What changed, and a part of the patch.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DiffPart {
    /// Whether anything changed.
    pub(crate) changed: bool,
    /// The changed paths, at most 500.
    pub(crate) files: Vec<Changed>,
    /// How many paths changed in all.
    pub(crate) files_total: u64,
    /// The changes as a git patch, or a part of it.
    pub(crate) patch: String,
    /// The patch's whole size in bytes.
    pub(crate) patch_bytes: u64,
    /// Call get_session_diff with this offset for the next part; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_offset: Option<u64>,
    /// The patch is not complete even with all its parts, because it is too large.
    pub(crate) incomplete: bool,
}

/// A part of a diff for a result.
pub(crate) fn diff_part(diff: &WorkspaceDiff, offset: u64, limit: usize) -> DiffPart {
    let part = part(&diff.patch, offset, limit);
    DiffPart {
        changed: !diff.files.is_empty() || !diff.patch.is_empty(),
        files: diff
            .files
            .iter()
            .take(MAX_FILES)
            .map(|file| Changed {
                status: file.status,
                path: file.path.clone(),
            })
            .collect(),
        files_total: diff.files.len() as u64,
        patch: part.text,
        patch_bytes: part.total,
        next_offset: part.next,
        incomplete: diff.truncated,
    }
}

/// What an empty diff means.
pub(crate) fn no_changes(diff: &DiffPart) -> Option<String> {
    (!diff.changed)
        .then(|| "nothing has changed in the workspace since the session's first prompt".to_owned())
}

/// What `get_session_diff` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The session.
    session_id: String,
    #[serde(flatten)]
    diff: DiffPart,
    /// What an empty diff means, or what to do about an incomplete one.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Tool for GetDiff {
    const SPEC: Spec = Spec {
        name: "get_session_diff",
        title: "What changed in a session",
        description: "What changed in a session's workspace since its first prompt, as a list of paths and a git patch \
            (uncommitted and new files included). Use it to review or take over the agent's work; page through long \
            patches with offset.",
        hints: Hints::READS,
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let id = args::session_id(&args.session_id)?;
        let diff = call.core.api.diff(&id).await?;
        let offset = args.offset.map_or(0, |Count(offset)| offset);
        let diff = diff_part(&diff, offset, call.core.options.output_limit);
        let note = no_changes(&diff).or_else(|| {
            diff.incomplete.then(|| {
                "the patch was cut at its bound; let execute_command run git diff for parts of it, or show single files"
                    .to_owned()
            })
        });
        Ok(Output {
            session_id: id.to_string(),
            diff,
            note,
        })
    }
}
