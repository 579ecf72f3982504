//! Tests, CI, docs, set-up, licence, churn.
#![expect(clippy::unwrap_used, reason = "what a test cannot set up ends it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use project_analysis::AnalysisKind::Health;
use serde_json::Value;

use crate::support::{git, item, look, project, write};

fn passed(found: &Value, id: &str) -> bool {
    item(&found["checks"], "id", id)["passed"] == true
}

#[test]
fn a_project_that_is_kept_well_passes_and_an_empty_one_says_what_is_missing() {
    let readme = "words ".repeat(100);
    let good = project(&[
        ("README.md", &readme),
        ("LICENSE", "MIT"),
        ("CHANGELOG.md", "x"),
        ("CONTRIBUTING.md", "x"),
        (".gitignore", "target\n"),
        (".editorconfig", "root = true"),
        (
            ".github/workflows/ci.yml",
            "run: cargo clippy && cargo fmt --check",
        ),
        ("docs/guide.md", "x"),
        (
            "Cargo.toml",
            "[package]\nname = \"x\"\nlicense = \"MIT\"\n[lints.rust]\n",
        ),
        ("rustfmt.toml", ""),
        ("src/lib.rs", "fn a() {}\n#[cfg(test)]\nmod tests {}\n"),
        ("tests/it.rs", "#[test]\nfn it() {}\n"),
    ]);
    let found = look(&good, Health);
    let failed: Vec<&Value> = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["passed"] == false)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(found["score"], 100);
    assert_eq!(found["tests"]["files"], 1);
    assert_eq!(found["tests"]["files_with_inner_tests"], 1);
    assert_eq!(found["churn"]["available"], false);
    assert_eq!(found["churn"]["reason"], "this is no git repository");

    let bad = project(&[("src/main.py", "print(1)\n")]);
    let found = look(&bad, Health);
    for id in [
        "tests.present",
        "ci.present",
        "docs.readme",
        "lint.configured",
        "format.configured",
        "licence.file",
    ] {
        assert!(!passed(&found, id), "{id}");
    }
    assert!(found["score"].as_u64().unwrap() < 20);
    let tests = item(&found["categories"], "category", "tests");
    assert_eq!(tests["score"], 0);
    assert_eq!(tests["reasons"][0], "no file looks like a test");
}

#[test]
fn churn_is_what_git_tells() {
    let dir = project(&[("a.txt", "0"), ("b with space.txt", "0")]);
    let root = dir.path();
    git(root, &["init", "-q"]);
    let empty = look(&dir, Health);
    assert_eq!(empty["churn"]["available"], false);
    git(root, &["add", "."]);
    git(root, &["commit", "-q", "-m", "one\n\nwith \u{1} in it"]);
    for content in ["1", "2", "3"] {
        write(root, "a.txt", content);
        git(root, &["commit", "-q", "-a", "-m", "again"]);
    }
    git(
        root,
        &[
            "-c",
            "user.email=other@example.com",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "x",
        ],
    );
    let history = look(&dir, Health)["churn"]["history"].clone();
    assert_eq!(history["commits"], 5);
    assert_eq!(history["authors"], 2, "{history}");
    assert_eq!(history["truncated"], false);
    assert_eq!(history["hot_files"][0]["path"], "a.txt");
    assert_eq!(history["hot_files"][0]["commits"], 4);
    assert_eq!(history["commits_in_last_90_days"], 5);
}

/// The repository's own configuration names programs in every way that a log can run one. That a bare `git log` runs them
/// is seen first: who takes a protection away sees this fail.
#[test]
fn nothing_that_a_repository_configures_runs() {
    let dir = project(&[
        ("a.txt", "0"),
        (".gitattributes", "*.txt diff=evil filter=evil\n"),
    ]);
    let root = dir.path();
    git(root, &["init", "-q"]);
    git(root, &["add", "."]);
    git(root, &["commit", "-q", "-m", "one"]);
    sign_last_commit(root);
    let ran = configure_evil(root);
    bare_log(root);
    assert!(ran.exists(), "a bare log looks at signatures");
    std::fs::remove_file(&ran).unwrap();
    let found = look(&dir, Health);
    assert_eq!(found["churn"]["history"]["commits"], 1, "{}", found["churn"]);
    assert!(!ran.exists(), "something ran");
}

#[test]
fn nothing_that_a_repository_lacks_is_fetched() {
    let dir = project(&[("a.txt", "0")]);
    let root = dir.path();
    git(root, &["init", "-q"]);
    git(root, &["add", "."]);
    git(root, &["commit", "-q", "-m", "one"]);
    let tree = git_says(root, &["rev-parse", "HEAD^{tree}"]);
    let (first, rest) = tree.trim().split_at(2);
    std::fs::remove_file(root.join(".git/objects").join(first).join(rest)).unwrap();
    let ran = configure_evil(root);
    // Signatures are for the other test.
    git(root, &["config", "log.showSignature", "false"]);
    git(root, &["config", "remote.origin.url", "ssh://host.example/x"]);
    git(root, &["config", "remote.origin.promisor", "true"]);
    git(root, &["config", "core.repositoryFormatVersion", "1"]);
    git(root, &["config", "extensions.partialClone", "origin"]);
    git(root, &["config", "protocol.allow", "always"]);
    bare_log(root);
    assert!(ran.exists(), "a bare log fetches");
    std::fs::remove_file(&ran).unwrap();
    look(&dir, Health);
    assert!(!ran.exists(), "something ran");
}

/// Names a program wherever git may run one; the file that it leaves.
fn configure_evil(root: &Path) -> PathBuf {
    let (evil, ran) = (root.join("evil.sh"), root.join("ran"));
    write(root, "evil.sh", format!("#!/bin/sh\ntouch {}\n", ran.display()));
    std::fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hooks = root.join("hooks");
    for hook in ["post-index-change", "reference-transaction", "post-checkout"] {
        write(root, &format!("hooks/{hook}"), std::fs::read(&evil).unwrap());
        std::fs::set_permissions(
            hooks.join(hook),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    }
    let evil = evil.display().to_string();
    for key in [
        "core.pager",
        "pager.log",
        "core.editor",
        "core.sshCommand",
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "filter.evil.smudge",
        "filter.evil.clean",
        "gpg.program",
        "credential.helper",
    ] {
        git(root, &["config", key, &evil]);
    }
    git(root, &["config", "alias.log", &format!("!{evil}")]);
    git(root, &["config", "log.showSignature", "true"]);
    git(root, &["config", "core.hooksPath", hooks.to_str().unwrap()]);
    git(root, &["config", "core.fsmonitor", &evil]);
    // Setting things up ran nothing of it.
    assert!(!ran.exists());
    ran
}

/// A log as anybody would ask for it. It may fail.
fn bare_log(root: &Path) {
    let asked = Command::new("git")
        .args(["log", "--name-only"])
        .current_dir(root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .output();
    asked.unwrap();
}

fn git_says(root: &Path, args: &[&str]) -> String {
    let said = Command::new("git").args(args).current_dir(root).output().unwrap();
    assert!(said.status.success(), "{args:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// Gives the last commit a signature that somebody would have to look at.
fn sign_last_commit(root: &Path) {
    let commit = git_says(root, &["cat-file", "commit", "HEAD"]);
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n aaaa\n -----END PGP SIGNATURE-----\n";
    write(
        root,
        ".git/signed",
        commit.replacen("\n\n", &format!("\n{signature}\n"), 1),
    );
    let signed = git_says(root, &["hash-object", "-t", "commit", "-w", ".git/signed"]);
    git(root, &["update-ref", "HEAD", signed.trim()]);
}

#[test]
fn a_repository_that_is_none_is_said_to_be_none() {
    let dir = project(&[(".git/HEAD", "nonsense"), ("a.txt", "")]);
    let churn = look(&dir, Health)["churn"].clone();
    assert_eq!(churn["available"], false);
    assert_eq!(churn["reason"], "git could not read the repository");
    let file = project(&[(".git", "gitdir: /nonexistent"), ("a.txt", "")]);
    assert_eq!(look(&file, Health)["churn"]["available"], false);
}
