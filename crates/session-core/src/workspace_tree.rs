//! git in a session: cloning into the workspace, and what changed in it: two trees and their difference.
//!
//! Trees are written with an index and an object directory of our own in the session's home, so that neither the
//! project's index nor its object store changes. A workspace that is no repository gets a bare one in the home
//! directory. Nothing of this runs on the host, and hooks, monitors and external helpers are off all the same (I6).

use std::collections::BTreeMap;
use std::time::Duration;

use session_link::{ExitCause, ExitReport, Link, OutputStream, ProcessEvent, ProcessId, SpawnSpec};

use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind, Result};
use crate::link_error::from_link;
use crate::runtime::ContainerSpec;

const OPERATION: &str = "compare the workspace";
/// The longest patch that is kept, in bytes.
pub(crate) const MAX_PATCH_BYTES: usize = 16 << 20;

/// After which time git is ended: a project can configure filters that never end.
const TIME_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Sets the environment of all the git calls below.
const PRELUDE: &str = r#"
set -eu
command -v git >/dev/null 2>&1 || exit 97
cd /workspace
state=$HOME/.cofferdam
mkdir -p "$state/objects"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 GIT_PAGER=cat
export GIT_CONFIG_COUNT=6
export GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
export GIT_CONFIG_KEY_1=core.hooksPath GIT_CONFIG_VALUE_1=/dev/null
export GIT_CONFIG_KEY_2=core.fsmonitor GIT_CONFIG_VALUE_2=false
export GIT_CONFIG_KEY_3=core.autocrlf GIT_CONFIG_VALUE_3=false
export GIT_CONFIG_KEY_4=core.excludesFile GIT_CONFIG_VALUE_4=/dev/null
export GIT_CONFIG_KEY_5=advice.addEmbeddedRepo GIT_CONFIG_VALUE_5=false
if [ -e .git ] && own=$(git rev-parse --absolute-git-dir 2>/dev/null); then
  export GIT_DIR=$own GIT_ALTERNATE_OBJECT_DIRECTORIES=$(git rev-parse --path-format=absolute --git-path objects)
else
  [ -d "$state/base.git" ] || git init -q --bare "$state/base.git"
  export GIT_DIR=$state/base.git GIT_ALTERNATE_OBJECT_DIRECTORIES=$state/base.git/objects
fi
export GIT_WORK_TREE=/workspace GIT_OBJECT_DIRECTORY=$state/objects GIT_INDEX_FILE=$state/index
[ -e "$GIT_INDEX_FILE" ] || [ ! -e "$GIT_DIR/index" ] || cp "$GIT_DIR/index" "$GIT_INDEX_FILE"
snapshot() { git add -A -- . 2>/dev/null || git add -A --ignore-errors -- . 2>/dev/null || :; git write-tree; }
"#;

/// Clones a repository that [`crate::policy::clone`] has judged into the empty workspace.
pub(crate) async fn clone(link: &Link, url: &str, reference: Option<&str>, ambient: &Ambient) -> Result<()> {
    let body = r#"
unset GIT_DIR GIT_WORK_TREE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_INDEX_FILE
export GIT_ALLOW_PROTOCOL=http:https GIT_ASKPASS=/bin/false
url=$1 reference=$2
shift 2
git "$@" clone -q --no-recurse-submodules -- "$url" /workspace
[ -z "$reference" ] || git -C /workspace checkout -q "$reference" --
"#;
    let mut args = vec![url.to_owned(), reference.unwrap_or_default().to_owned()];
    for (key, value) in ambient.git_settings() {
        args.extend(["-c".to_owned(), format!("{key}={value}")]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let cloned = script_in(ambient.variables(), link, fresh_id(), body, &args, 1024).await;
    cloned.map(drop).map_err(|error| {
        let message = "git could not clone the repository into the session";
        Error::new(ErrorKind::InvalidArgument, "clone the repository", message)
            .with_context("url", url)
            .with_hint("see the cause: is the address right, public, and reachable from this machine?")
            .with_source(error)
    })
}

/// Writes the workspace as a tree before the first turn, and gives its name. Whoever is broken off and asks again gets
/// what the first call began.
pub(crate) async fn base(link: &Link) -> Result<String> {
    snapshot(link, "tree-base".to_owned()).await
}

async fn snapshot(link: &Link, id: String) -> Result<String> {
    let output = script(link, id, "snapshot", &[], 256).await?;
    let name = String::from_utf8_lossy(&output.bytes).trim().to_owned();
    if is_object_name(&name) {
        return Ok(name);
    }
    Err(Error::new(
        ErrorKind::Internal,
        OPERATION,
        "git in the session named no tree",
    ))
}

/// A difference between two trees.
pub(crate) struct RawDiff {
    /// `git diff --name-status -z`.
    pub(crate) names: Vec<u8>,
    /// `git diff --binary`.
    pub(crate) patch: Vec<u8>,
    pub(crate) truncated: bool,
}

/// What changed since the tree `base`.
pub(crate) async fn diff(link: &Link, base: &str) -> Result<RawDiff> {
    let now = snapshot(link, fresh_id()).await?;
    let names = script(
        link,
        fresh_id(),
        "git diff --no-renames --name-status -z \"$1\" \"$2\"",
        &[base, &now],
        4 << 20,
    )
    .await?;
    let patch = script(
        link,
        fresh_id(),
        "git diff --no-color --no-ext-diff --no-textconv --binary --find-renames \"$1\" \"$2\"",
        &[base, &now],
        MAX_PATCH_BYTES,
    )
    .await?;
    Ok(RawDiff {
        names: names.bytes,
        patch: patch.bytes,
        truncated: patch.truncated || names.truncated,
    })
}

/// Whether `name` is what git calls an object: hexadecimal, SHA-1 or SHA-256.
pub(crate) fn is_object_name(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

struct Output {
    bytes: Vec<u8>,
    truncated: bool,
}

fn fresh_id() -> String {
    format!("tree-{:016x}", rand::random::<u64>())
}

async fn script(link: &Link, id: String, body: &str, args: &[&str], limit: usize) -> Result<Output> {
    script_in(BTreeMap::new(), link, id, body, args, limit).await
}

async fn script_in(
    env: BTreeMap<String, String>,
    link: &Link,
    id: String,
    body: &str,
    args: &[&str],
    limit: usize,
) -> Result<Output> {
    let id = ProcessId::new(id).map_err(|error| from_link(OPERATION, error))?;
    let text = format!("{PRELUDE}\n{body}\n");
    let mut argv = vec!["/bin/sh", "-c", &text, "cofferdam"];
    argv.extend(args);
    let mut spec = SpawnSpec::new(id.clone(), argv);
    spec.env = vec![
        ("HOME".into(), ContainerSpec::HOME_DIR.into()),
        (
            "PATH".into(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        ),
        ("LC_ALL".into(), "C.UTF-8".into()),
    ];
    spec.env.extend(env);
    spec.cwd = Some("/".into());
    spec.time_limit = Some(TIME_LIMIT);
    let mut process = link
        .run(spec)
        .await
        .map_err(|error| from_link(OPERATION, error))?;
    let (mut output, mut stderr) = (
        Output {
            bytes: Vec::new(),
            truncated: false,
        },
        Vec::new(),
    );
    let report = loop {
        match process
            .next()
            .await
            .map_err(|error| from_link(OPERATION, error))?
        {
            Some(ProcessEvent::Output {
                stream: OutputStream::Stdout,
                bytes,
                ..
            }) => {
                let room = limit.saturating_sub(output.bytes.len()).min(bytes.len());
                output.bytes.extend_from_slice(&bytes[..room]);
                output.truncated |= room < bytes.len();
            }
            Some(ProcessEvent::Output { bytes, .. }) => {
                let room = 1024_usize.saturating_sub(stderr.len()).min(bytes.len());
                stderr.extend_from_slice(&bytes[..room]);
            }
            Some(ProcessEvent::Gap { .. }) => output.truncated = true,
            Some(ProcessEvent::Exited(report)) => break report,
            None => {
                return Err(Error::new(
                    ErrorKind::LinkLost,
                    OPERATION,
                    "git's end was not reported",
                ));
            }
        }
    };
    let _ = link.forget(&id).await;
    judge(&report, &stderr).map(|()| output)
}

fn judge(report: &ExitReport, stderr: &[u8]) -> Result<()> {
    if report.success() {
        return Ok(());
    }
    if report.cause == ExitCause::TimedOut {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            OPERATION,
            "git in the session took too long",
        )
        .with_context("limit_s", TIME_LIMIT.as_secs())
        .with_hint("look for filters in the project's git configuration, or for a very large workspace"));
    }
    if report.code == Some(97) || report.code == Some(127) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            OPERATION,
            "the session's image has no git",
        )
        .with_hint("use an image with git and a shell, or copy the files out"));
    }
    Err(
        Error::new(ErrorKind::Internal, OPERATION, "git failed in the session")
            .with_context("exit_code", report.code.unwrap_or(-1))
            .with_context("said", String::from_utf8_lossy(stderr).trim().escape_debug()),
    )
}
