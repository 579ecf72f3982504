//! Tests, CI, docs, set-up, licence, churn.

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

/// The repository's own configuration names programs in every way that a log can run one.
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
    let ran = root.join("ran");
    write(
        root,
        "evil.sh",
        format!("#!/bin/sh\ntouch {}\ncat\n", ran.display()),
    );
    let evil = root.join("evil.sh");
    std::fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let evil = evil.display().to_string();
    for key in [
        "core.fsmonitor",
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
        "alias.log",
        "credential.helper",
    ] {
        let value = if key == "alias.log" {
            format!("!{evil}")
        } else {
            evil.clone()
        };
        git(root, &["config", key, &value]);
    }
    git(root, &["config", "log.showSignature", "true"]);
    git(root, &["config", "core.hooksPath", root.to_str().unwrap()]);
    let found = look(&dir, Health);
    assert_eq!(found["churn"]["history"]["commits"], 1, "{}", found["churn"]);
    assert!(!ran.exists(), "something ran");
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
