//! `transfer_files`.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::error::ErrorKind;
use session_core::id::SessionId;
use session_core::session::CopyReport;
use tokio::time::Instant;

use super::{Hints, Spec, Tool};
use crate::args;
use crate::call::{Call, Stop};
use crate::failure::Failure;
use crate::transfer;

/// How many withheld paths stand in a result.
const LISTED: usize = 100;

/// See the module.
pub(super) struct Transfer;

/// What `transfer_files` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// The session.
    session_id: String,
    /// to_container: from this host into the session. from_container: the other way.
    direction: Direction,
    /// A file or directory: an absolute path on this host with to_container; a path inside, absolute or relative to /workspace, with from_container.
    source_path: String,
    /// Where it goes: into a directory that exists, else under this name. A path on this host is absolute.
    dest_path: String,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Direction {
    ToContainer,
    FromContainer,
}

/// What `transfer_files` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The session.
    session_id: String,
    direction: Direction,
    source_path: String,
    dest_path: String,
    /// Files, directories and links that were copied.
    entries: u64,
    /// Bytes of content.
    bytes: u64,
    /// Paths that were not copied to this host, because tools here could run them (.git/hooks, .envrc, …) or because they lead out of what was copied; at most 100.
    withheld: Vec<String>,
    /// How many were not copied.
    withheld_count: u64,
    /// What to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// What was copied, what was withheld and how much.
type Copied = (CopyReport, Vec<String>, u64);

async fn copy(args: &Args, id: &SessionId, call: &Call) -> Result<Copied, Stop> {
    let api = &*call.core.api;
    // The tool is not there without; nothing may rest on that alone.
    let host = call.core.options.host.as_ref().ok_or_else(|| {
        Failure::of(
            ErrorKind::Unsupported,
            "files of this host are not for clients of this server",
            "use the HTTP API of the server to copy files in and out",
        )
    })?;
    let copying = async {
        match args.direction {
            Direction::ToContainer => {
                let source = Path::new(&args.source_path);
                let report =
                    transfer::into_session(api, id, host, source, &args.dest_path, &call.cancelled).await?;
                Ok((report, Vec::new(), 0))
            }
            Direction::FromContainer => {
                let dest = Path::new(&args.dest_path);
                let unpacked =
                    transfer::out_of_session(api, id, host, &args.source_path, dest, &call.cancelled).await?;
                Ok((unpacked.report, unpacked.withheld, unpacked.withheld_count))
            }
        }
    };
    tokio::pin!(copying);
    let (begun, mut beats) = (Instant::now(), call.beats());
    loop {
        // Copying is kept outside of the loop and ends by itself when it is cancelled, with nothing half done here.
        tokio::select! {
            copied = &mut copying => return copied,
            _ = beats.tick() => call.beat(|| format!("copying ({} s)", begun.elapsed().as_secs())).await,
        }
    }
}

impl Tool for Transfer {
    const SPEC: Spec = Spec {
        name: "transfer_files",
        title: "Copy files in or out",
        description: "Copies a file or a directory between this host and a session, replacing what is there. All or \
            nothing. Use it to hand over inputs and to fetch results; for the agent's changes to a project, \
            get_session_diff is shorter.",
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
        let (report, mut withheld, withheld_count) = copy(&args, &id, call).await?;
        withheld.truncate(LISTED);
        let note = (withheld_count > 0).then(|| {
            "what was withheld stays in the session; look at it with execute_command and let a person decide".to_owned()
        });
        Ok(Output {
            session_id: id.to_string(),
            direction: args.direction,
            source_path: args.source_path,
            dest_path: args.dest_path,
            entries: report.entries,
            bytes: report.bytes,
            withheld,
            withheld_count,
            note,
        })
    }
}
