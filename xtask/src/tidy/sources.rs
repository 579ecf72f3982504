//! Rules about single source files.

use super::Finding;
use xtask::error::{Context, Result};
use xtask::process::Tool;
use xtask::workspace;

/// Nobody holds more than that in mind at once.
const LONGEST_FILE: usize = 800;
/// Words that promise work instead of doing it. Written apart so that this file does not find itself.
const PROMISES: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// What looks for such words in the projects of others has to name them.
const FINDS_PROMISES: &str = "crates/project-analysis/src/issues/";

pub(super) fn check() -> Result<Vec<Finding>> {
    let listed = Tool::new("git")
        .args(["ls-files", "-z", "*.rs"])
        .dir(workspace::root())
        .output()?;
    let mut findings = Vec::new();
    for path in listed
        .stdout
        .split('\0')
        .map(str::trim)
        .filter(|path| !path.is_empty())
    {
        let file = workspace::root().join(path);
        if !file.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&file).context(|| format!("cannot read {path}"))?;
        findings.extend(judge(path, &text));
    }
    Ok(findings)
}

fn judge(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        findings.push(Finding::new(
            path,
            format!("{lines} lines; split it by concern, {LONGEST_FILE} is the end"),
        ));
    }
    let is_library_code = path.contains("/src/") && !path.ends_with("/tests.rs") && !path.contains("/tests/");
    if is_library_code && !text.starts_with("//!") {
        findings.push(Finding::new(path, "does not open with why it exists (`//! …`)"));
    }
    if text.contains(concat!("unsafe", "_code"))
        && !path.starts_with("crates/session-init/")
        && path.ends_with(".rs")
    {
        findings.push(Finding::new(path, "only session-init may ask for unsafe code"));
    }
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{path}:{}", number + 1);
        let promises = PROMISES.iter().filter(|_| !path.starts_with(FINDS_PROMISES));
        for word in promises.filter(|word| has_word(line, word)) {
            findings.push(Finding::new(
                place(),
                format!("`{word}`: do it, or open an issue"),
            ));
        }
        if line.trim() == concat!("#[", "ignore]") {
            findings.push(Finding::new(
                place(),
                "say why it is not run with the others, and by what it is run",
            ));
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_breach() {
        assert_eq!(judge("crates/a/src/b.rs", "//! Why.\nfn f() {}\n"), vec![]);
        assert_eq!(judge("crates/a/src/b.rs", "fn f() {}\n").len(), 1);
        assert_eq!(
            judge(
                "crates/a/src/b.rs",
                &format!("//! Why.\n// {} later\n", PROMISES[0])
            )
            .len(),
            1
        );
        assert_eq!(
            judge(
                "crates/a/src/b.rs",
                &format!("//! Why.\n{}", "\n".repeat(LONGEST_FILE))
            )
            .len(),
            1
        );
        assert_eq!(
            judge(
                "crates/a/src/b.rs",
                concat!("//! Why.\n#![allow(unsafe", "_code)]\n")
            )
            .len(),
            1
        );
    }
}
