//! git in a session: cloning into the workspace, and what changed in it: trees, their difference, and the way back.
//!
//! Trees are written by a repository of our own in the session's home, so that neither the project's index nor its
//! objects change, and nothing that the project's repository says has a part in it: no filter, attribute, hook, setting or
//! monitor, no file that its index calls unchanged. What git ignores by the project's `.gitignore` files is left out, unless the
//! project tracks it. Nothing of this runs on the host (I6).
//!
//! | module | what it holds |
//! |---|---|
//! | [`script`] | a script in the session: its course, its bounds, what its end means |
//! | `*.sh` | the scripts, for a plain POSIX shell |

mod script;

use bytes::Bytes;
use futures::Stream;
use session_link::Link;

use self::script::{Running, Script};
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{ContainerSpec, HostMount};

/// The longest patch that is shown, in bytes.
pub(crate) const MAX_PATCH_BYTES: usize = 16 << 20;
/// The tree of an empty directory, as git names it without asking.
pub(crate) const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
/// How many KiB the trees of a session may take before those that nobody wants are looked for.
const OBJECTS_KIB: &str = "2097152";

const PRELUDE: &str = include_str!("prelude.sh");
const TAKE: &str = include_str!("take.sh");
const PUT: &str = include_str!("put.sh");
const EMPTY: &str = include_str!("empty.sh");

const COMPARE: &str = "compare the workspace";
const TAKING: &str = "take a checkpoint";
const PUTTING: &str = "bring the checkpoint's work back";

/// Clones a repository that [`crate::policy::clone`] has judged into the empty workspace.
pub(crate) async fn clone(link: &Link, url: &str, reference: Option<&str>, ambient: &Ambient) -> Result<()> {
    let body = r#"
set -eu
command -v git >/dev/null 2>&1 || exit 97
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 GIT_PAGER=cat
export GIT_CONFIG_COUNT=3
export GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
export GIT_CONFIG_KEY_1=core.hooksPath GIT_CONFIG_VALUE_1=/dev/null
export GIT_CONFIG_KEY_2=core.fsmonitor GIT_CONFIG_VALUE_2=false
export GIT_ALLOW_PROTOCOL=http:https GIT_ASKPASS=/bin/false
cd /workspace
url=$1 reference=$2
shift 2
git "$@" clone -q --no-recurse-submodules -- "$url" /workspace
[ -z "$reference" ] || git -C /workspace checkout -q "$reference" --
"#;
    let mut args = vec![url.to_owned(), reference.unwrap_or_default().to_owned()];
    for (key, value) in ambient.git_settings() {
        args.extend(["-c".to_owned(), format!("{key}={value}")]);
    }
    let cloned = Script::new(COMPARE, body)
        .args(args)
        .env(ambient.variables())
        .run(link, 1024)
        .await;
    cloned.map(drop).map_err(|error| {
        let message = "git could not clone the repository into the session";
        Error::new(ErrorKind::InvalidArgument, "clone the repository", message)
            .with_context("url", url)
            .with_hint("see the cause: is the address right, public, and reachable from this machine?")
            .with_source(error)
    })
}

fn git(operation: &'static str, body: &str) -> Script {
    Script::new(operation, &format!("{PRELUDE}\n{body}\n"))
}

/// Writes the workspace as a tree before the first turn, and gives its name. Whoever is broken off and asks again gets
/// what the first call began.
pub(crate) async fn base(link: &Link) -> Result<String> {
    let script = git(COMPARE, "snapshot").id("tree-base".to_owned());
    tree(script, link).await
}

/// The same at any later time: what the first call for a workspace began is not what this one gives.
pub(crate) async fn base_anew(link: &Link) -> Result<String> {
    tree(git(COMPARE, "snapshot"), link).await
}

async fn tree(script: Script, link: &Link) -> Result<String> {
    let output = script.run(link, 256).await?;
    let name = String::from_utf8_lossy(&output.bytes).trim().to_owned();
    if is_object_name(&name) {
        return Ok(name);
    }
    Err(no_tree(COMPARE))
}

fn no_tree(operation: &'static str) -> Error {
    Error::new(ErrorKind::Internal, operation, "git in the session named no tree")
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
    let now = base_anew(link).await?;
    let trees = || [base.to_owned(), now.clone()];
    let names = git(COMPARE, "git diff --no-renames --name-status -z \"$1\" \"$2\"")
        .args(trees())
        .run(link, 4 << 20)
        .await?;
    let patch = git(
        COMPARE,
        "git diff --no-color --no-ext-diff --no-textconv --binary --find-renames \"$1\" \"$2\"",
    )
    .args(trees())
    .run(link, MAX_PATCH_BYTES)
    .await?;
    Ok(RawDiff {
        names: names.bytes,
        patch: patch.bytes,
        truncated: patch.truncated || names.truncated,
    })
}

/// What differs from a tree, on its way out.
pub(crate) struct Taking {
    /// The workspace as it is.
    pub(crate) tree: String,
    /// How many files are too large to be in it.
    pub(crate) left_out: u64,
    first: Bytes,
    running: Running,
}

impl Taking {
    /// The next bytes of the patch; `None` at its end, when git said that it is whole. No bytes when the tree is the
    /// base, or what is kept already.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        match self.running.next().await? {
            None if self.running.gap => Err(Error::new(
                ErrorKind::LinkLost,
                TAKING,
                "a part of the patch was lost on its way",
            )),
            next => Ok(next),
        }
    }
}

/// Begins to take what differs from `base`, unless it is `kept` already. A patch longer than `limit` bytes is cut off, and
/// then its end is an error.
pub(crate) async fn take(link: &Link, base: &str, kept: Option<&str>, limit: u64) -> Result<Taking> {
    /// More than two names and a number.
    const HEAD: usize = 256;
    let args = [base, kept.unwrap_or_default(), OBJECTS_KIB].map(str::to_owned);
    let script = git(TAKING, TAKE).args(args).limit(limit).ends_with_link();
    let mut running = script.start(link).await?;
    let mut head = Vec::new();
    loop {
        let Some(piece) = running.next().await? else {
            return Err(no_tree(TAKING));
        };
        let Some(end) = piece.iter().position(|byte| *byte == b'\n') else {
            head.extend_from_slice(&piece);
            if head.len() > HEAD {
                return Err(no_tree(TAKING));
            }
            continue;
        };
        head.extend_from_slice(&piece[..end]);
        let head = String::from_utf8_lossy(&head);
        let (tree, left) = head.split_once(' ').unwrap_or_default();
        if !is_object_name(tree) {
            return Err(no_tree(TAKING));
        }
        return Ok(Taking {
            tree: tree.to_owned(),
            // One is the workspace itself.
            left_out: left.trim().parse::<u64>().unwrap_or(1).saturating_sub(1),
            first: piece.slice(end + 1..),
            running,
        });
    }
}

/// Makes the workspace what `patch` makes of `base`. Changes of it that the patch has too are fine, others are refused.
///
/// # Errors
/// `StateConflict` when the patch does not fit the base, or when the workspace has other changes; then nothing was changed.
pub(crate) async fn put(
    link: &Link,
    base: &str,
    patch: impl Stream<Item = Result<Bytes>> + Send + Unpin,
) -> Result<()> {
    let put = git(PUTTING, PUT)
        .args([base.to_owned()])
        .ends_with_link()
        .run_with_input(link, patch, 1024)
        .await;
    put.map(drop).map_err(|error| {
        let conflict = |message: &'static str, hint: &'static str| {
            Error::new(ErrorKind::StateConflict, PUTTING, message).with_hint(hint)
        };
        match script::exit_code(&error) {
            Some(95) => conflict(
                "the checkpoint's patch does not fit: its project is no longer as it was",
                "read its patch and apply it by hand, for example with `git apply --3way`",
            ),
            Some(94) => conflict(
                "the workspace has changes that are not in the checkpoint",
                "take a checkpoint of them, or bring the work back into a new session",
            ),
            Some(93) => conflict(
                "files that git ignores are where the checkpoint has others",
                "move them away, or bring the work back into a new session",
            ),
            _ => error,
        }
    })
}

/// Empties a workspace that is to be filled again. What is mounted below it is the host's, and stays.
pub(crate) async fn empty(link: &Link, mounts: &[HostMount]) -> Result<()> {
    Script::new(PUTTING, EMPTY)
        .args(spared(mounts))
        .run(link, 64)
        .await
        .map(drop)
}

/// For `find`: neither what is mounted below the workspace nor what leads there.
fn spared(mounts: &[HostMount]) -> Vec<String> {
    let below = format!("{}/", ContainerSpec::WORKSPACE_DIR);
    let mut words = Vec::new();
    for mount in mounts {
        let Some(rest) = mount.target.strip_prefix(&below) else {
            continue;
        };
        let leading = rest.match_indices('/').map(|(end, _)| &rest[..end]);
        for (path, there) in leading.map(|path| (path, false)).chain([(rest, true)]) {
            words.extend(["-path".to_owned(), literal(&format!("{below}{path}"))]);
            words.extend(there.then(|| "-prune".to_owned()));
            words.push("-o".to_owned());
        }
    }
    words
}

/// A pattern that stands for this text alone.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// Whether `name` is what git calls an object: hexadecimal, SHA-1 or SHA-256.
pub(crate) fn is_object_name(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn mount(target: &str) -> HostMount {
        HostMount {
            source: "/srv/data".into(),
            target: target.to_owned(),
            read_only: false,
        }
    }

    /// Runs the script in a directory of this host.
    fn emptied(root: &Path, mounts: &[HostMount]) {
        let workspace = root.join("workspace");
        let here = workspace.to_str().unwrap();
        let ended = Command::new("/bin/sh")
            .args([
                "-c",
                &EMPTY.replace(ContainerSpec::WORKSPACE_DIR, here),
                "cofferdam",
            ])
            .args(
                spared(mounts)
                    .iter()
                    .map(|word| word.replace(ContainerSpec::WORKSPACE_DIR, here)),
            )
            .env("HOME", root)
            .status()
            .unwrap();
        assert!(ended.success());
    }

    #[test]
    fn what_is_mounted_in_a_workspace_that_is_emptied_stays() {
        let root = tempfile::tempdir().unwrap();
        let there = |path: &str| root.path().join("workspace").join(path);
        let files = [
            ("data/set/kept", true),
            ("data/set/deep/kept", true),
            ("odd*[name]?/kept", true),
            ("data/other", false),
            ("oddly[name]!/gone", false),
            (".git/config", false),
            ("src/main.rs", false),
        ];
        for (file, _) in files {
            std::fs::create_dir_all(there(file).parent().unwrap()).unwrap();
            std::fs::write(there(file), "x").unwrap();
        }
        let mounts = [
            mount("/workspace/data/set"),
            mount("/workspace/odd*[name]?"),
            mount("/data"),
        ];
        emptied(root.path(), &mounts);
        for (file, stays) in files {
            assert_eq!(there(file).exists(), stays, "{file}");
        }
        assert!(!there("src").exists() && !there(".git").exists());
        emptied(root.path(), &[]);
        assert_eq!(std::fs::read_dir(there("")).unwrap().count(), 0);
    }
}
