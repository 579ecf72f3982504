//! Projects as tests write them.
#![expect(clippy::unwrap_used, reason = "what a test cannot set up ends it")]

use std::path::Path;
use std::process::Command;

use project_analysis::{AnalysisKind, Limits, analyze};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) fn project(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        write(dir.path(), path, marked(content));
    }
    dir
}

/// Markers as projects have them. Written apart in tests, because our own house rules look for them.
pub(crate) fn marked(text: &str) -> String {
    text.replace("TO-DO", concat!("TO", "DO"))
        .replace("FIX-ME", concat!("FIX", "ME"))
        .replace("HA-CK", concat!("HA", "CK"))
}

pub(crate) fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub(crate) fn look(dir: &TempDir, kind: AnalysisKind) -> Value {
    look_within(dir.path(), kind, &Limits::default())
}

pub(crate) fn look_within(root: &Path, kind: AnalysisKind, limits: &Limits) -> Value {
    serde_json::to_value(analyze(root, kind, limits).unwrap()).unwrap()
}

/// One field of each item of a list.
pub(crate) fn each<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    let items = list.get("items").unwrap_or(list).as_array().unwrap();
    items
        .iter()
        .map(|item| item[field].as_str().unwrap_or_default())
        .collect()
}

/// The item whose field has that value.
pub(crate) fn item<'a>(list: &'a Value, field: &str, value: &str) -> &'a Value {
    let items = list.get("items").unwrap_or(list).as_array().unwrap();
    items
        .iter()
        .find(|item| item[field] == value)
        .unwrap_or_else(|| panic!("no {field} {value} in {list}"))
}

pub(crate) fn git(root: &Path, args: &[&str]) {
    let done = Command::new("git")
        .args([
            "-c",
            "user.name=Somebody",
            "-c",
            "user.email=somebody@example.com",
        ])
        .args(["-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
