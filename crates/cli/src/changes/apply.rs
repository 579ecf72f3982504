//! A session's patch applied to the directory that was copied for it.
//!
//! A patch is an attacker's text. `git apply` writes nothing outside of the directory, nothing through symlinks and
//! nothing into `.git`, and applies all or nothing. It runs as if there were no repository and no configuration, so that
//! nothing of the project (filters, hooks, attributes' drivers) can run on this host. What tools would run or obey by
//! themselves is left out unless it is asked for.

use std::path::Path;
use std::process::Stdio;

use session_core::error::{Error, ErrorKind, Result};
use session_core::session::WorkspaceDiff;
use session_core::transfer::could_run_on_host;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::symlinks;
use crate::sanitize;

const OPERATION: &str = "apply the changes";
/// What is shown of git's complaint, in characters.
const COMPLAINT: usize = 400;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The changed paths that were left out: what tools on this host would run or obey, and symlinks that lead out.
    pub withheld: Vec<String>,
}

/// Applies a patch to `dir`.
///
/// # Errors
/// `LimitExceeded` for a patch that is not whole, `StateConflict` when it does not fit the directory any more, `HostIo`
/// when git cannot be run. Then nothing was changed.
pub async fn apply(diff: &WorkspaceDiff, dir: &Path, executable_config: bool) -> Result<Applied> {
    refuse_incomplete(diff)?;
    let mut withheld: Vec<String> = diff
        .files
        .iter()
        .filter(|file| !executable_config && could_run_on_host(file.path.as_bytes()))
        .map(|file| file.path.clone())
        .collect();
    for link in symlinks::leading_out(&diff.patch) {
        if !withheld.contains(&link) {
            withheld.push(link);
        }
    }
    if !diff.files.iter().all(|file| withheld.contains(&file.path)) {
        run_git(diff.patch.as_bytes(), dir, &withheld).await?;
    }
    Ok(Applied { withheld })
}

fn refuse_incomplete(diff: &WorkspaceDiff) -> Result<()> {
    if diff.truncated {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            OPERATION,
            "the patch is too long and was cut",
        )
        .with_hint("copy the changed files out with `cofferdam cp`"));
    }
    // Text that is not UTF-8 was replaced on the way; applied, it would damage the files. A name that is not UTF-8 could
    // not be left out by its name.
    let replaced = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    if replaced(&diff.patch) || diff.files.iter().any(|file| replaced(&file.path)) {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            OPERATION,
            "the patch has text or names in it that are not UTF-8",
        )
        .with_hint("copy the changed files out with `cofferdam cp`"));
    }
    Ok(())
}

async fn run_git(patch: &[u8], dir: &Path, withheld: &[String]) -> Result<()> {
    let mut child = command(dir, withheld).spawn().map_err(|source| {
        Error::new(ErrorKind::HostIo, OPERATION, "git cannot be run")
            .with_hint("install git on this host, or apply the kept patch elsewhere")
            .with_source(source)
    })?;
    let failed =
        |source| Error::new(ErrorKind::HostIo, OPERATION, "git could not be spoken to").with_source(source);
    if let Some(mut stdin) = child.stdin.take() {
        // git reads all of it before it writes anything; a refusal shows in its exit code.
        let _ = stdin.write_all(patch).await;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = sanitize::shorten(&sanitize::one_line(&complaint), COMPLAINT).into_owned();
    Err(Error::new(
        ErrorKind::StateConflict,
        OPERATION,
        "the patch does not fit the directory; nothing was changed",
    )
    .with_context("git", complaint)
    .with_hint("the files changed meanwhile? In a repository, `git apply --3way` can merge the kept patch"))
}

fn command(dir: &Path, withheld: &[String]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["apply", "-p1", "--whitespace=nowarn"])
        .args(withheld.iter().map(|path| format!("--exclude={}", literal(path))))
        .arg("-")
        .current_dir(dir)
        // No repository and no configuration, whatever the directory holds.
        .env("GIT_DIR", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("LC_ALL", "C")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_CONFIG_COUNT")
        .env_remove("GIT_CONFIG_PARAMETERS")
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("ANTHROPIC_AUTH_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A path as a pattern that matches it alone.
fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use std::fs;

    use session_core::session::ChangedFile;

    use super::*;

    fn diff(files: &[(&str, &str)]) -> WorkspaceDiff {
        let patch = files
            .iter()
            .map(|(path, text)| {
                format!(
                    "diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{text}\n"
                )
            })
            .collect();
        WorkspaceDiff {
            patch,
            files: files
                .iter()
                .map(|(path, _)| ChangedFile {
                    status: 'A',
                    path: (*path).to_owned(),
                })
                .collect(),
            truncated: false,
        }
    }

    #[tokio::test]
    async fn new_files_are_made_and_risky_ones_withheld() {
        let dir = tempfile::tempdir().unwrap();
        let changes = diff(&[
            ("src/a.txt", "a"),
            (".envrc", "evil"),
            (".vscode/[t]*.json", "evil"),
            ("odd[1]*.txt", "odd"),
        ]);
        let applied = apply(&changes, dir.path(), false).await.unwrap();
        assert_eq!(applied.withheld, [".envrc", ".vscode/[t]*.json"]);
        assert_eq!(fs::read_to_string(dir.path().join("src/a.txt")).unwrap(), "a\n");
        assert_eq!(
            fs::read_to_string(dir.path().join("odd[1]*.txt")).unwrap(),
            "odd\n"
        );
        assert!(!dir.path().join(".envrc").exists());
        assert!(!dir.path().join(".vscode").exists());

        let dir = tempfile::tempdir().unwrap();
        let applied = apply(&changes, dir.path(), true).await.unwrap();
        assert_eq!(applied.withheld, Vec::<String>::new());
        assert!(dir.path().join(".envrc").exists());
    }

    #[tokio::test]
    async fn nothing_leaves_the_directory_or_enters_the_repository() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("project");
        fs::create_dir_all(dir.join(".git")).unwrap();
        std::os::unix::fs::symlink(outer.path(), dir.join("link")).unwrap();
        for path in ["../escaped", "link/escaped", ".git/config", "/tmp/escaped"] {
            let error = apply(&diff(&[("ok.txt", "ok"), (path, "x")]), &dir, true)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StateConflict, "{path}");
            assert!(!dir.join("ok.txt").exists(), "all or nothing: {path}");
        }
        assert!(!outer.path().join("escaped").exists());
        assert!(!dir.join(".git/config").exists());
    }

    #[tokio::test]
    async fn symlinks_that_lead_out_are_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut changes = diff(&[("a.txt", "a"), ("inside", "a.txt"), ("outside", "/etc/passwd")]);
        changes.patch = changes
            .patch
            .replacen("100644", "100600", 1)
            .replace("100644", "120000");
        changes.patch = changes.patch.replace("100600", "100644");
        let applied = apply(&changes, dir.path(), true).await.unwrap();
        assert_eq!(applied.withheld, ["outside"]);
        assert!(dir.path().join("inside").is_symlink());
        assert!(!dir.path().join("outside").is_symlink());
    }

    #[tokio::test]
    async fn what_does_not_fit_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.txt"), "already here\n").unwrap();
        let error = apply(&diff(&[("a.txt", "new")]), dir.path(), false)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StateConflict);
        assert_eq!(
            fs::read_to_string(dir.path().join("a.txt")).unwrap(),
            "already here\n"
        );
    }

    #[tokio::test]
    async fn damaged_patches_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut cut = diff(&[("a", "b")]);
        cut.truncated = true;
        assert!(apply(&cut, dir.path(), false).await.is_err());
        assert!(
            apply(&diff(&[("a", "\u{fffd}")]), dir.path(), false)
                .await
                .is_err()
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_projects_filters_do_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            std::process::Command::new("git")
                .args(args)
                .current_dir(dir.path())
                .status()
                .unwrap()
        };
        git(&["init", "-q"]);
        git(&["config", "filter.evil.smudge", "touch owned; cat"]);
        git(&["config", "filter.evil.clean", "touch owned; cat"]);
        fs::write(dir.path().join(".gitattributes"), "* filter=evil\n").unwrap();
        apply(&diff(&[("a.txt", "x")]), dir.path(), false).await.unwrap();
        assert!(dir.path().join("a.txt").exists());
        assert!(!dir.path().join("owned").exists());
    }
}
