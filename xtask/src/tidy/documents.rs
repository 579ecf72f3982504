//! Rules about documents: what they claim must exist.

use std::collections::BTreeSet;

use super::Finding;
use xtask::error::{Context, Result};
use xtask::process::Tool;
use xtask::workspace;

/// Each promise in this document names the tests that hold us to it, as `test: name`.
const PROMISES: &str = "docs/security.md";

/// What a test is called in the sources: a function, or the name that a runner of ours is given.
const NAMES: &str = "fn [a-z0-9_]+|\"[a-z0-9]+(_[a-z0-9]+){3,}\"";

pub(super) fn check() -> Result<Vec<Finding>> {
    let mut findings = named_tests()?;
    findings.extend(dead_links()?);
    Ok(findings)
}

/// Every test that the security page names stands in the sources.
fn named_tests() -> Result<Vec<Finding>> {
    let path = workspace::root().join(PROMISES);
    let page = std::fs::read_to_string(&path).context(|| format!("cannot read {PROMISES}"))?;
    let listed = Tool::new("git")
        .args(["grep", "-hoE", NAMES, "--", "*.rs"])
        .dir(workspace::root())
        .output()?;
    let names = listed
        .stdout
        .lines()
        .map(|line| line.trim_start_matches("fn ").trim_matches('"'));
    let known: BTreeSet<&str> = names.collect();
    Ok(claimed_tests(&page)
        .filter(|name| !known.contains(name))
        .map(|name| Finding::new(PROMISES, format!("names the test `{name}`, which does not exist")))
        .collect())
}

fn claimed_tests(page: &str) -> impl Iterator<Item = &str> {
    page.split("test: `")
        .skip(1)
        .filter_map(|rest| rest.split('`').next())
}

/// Every relative link in a document leads somewhere.
fn dead_links() -> Result<Vec<Finding>> {
    let listed = Tool::new("git")
        .args(["ls-files", "-z", "*.md"])
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
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let folder = file.parent().unwrap_or(&file);
        for target in links(&text) {
            if !folder.join(target).exists() {
                findings.push(Finding::new(
                    path,
                    format!("links to {target}, which does not exist"),
                ));
            }
        }
    }
    Ok(findings)
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#', ' ']).next()?;
        (!target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_and_links_are_read() {
        let page = "A promise (test: `it_holds`), another (test: `so_does_this`).";
        assert_eq!(
            claimed_tests(page).collect::<Vec<_>>(),
            ["it_holds", "so_does_this"]
        );
        let text = "[a](docs/a.md#part) [b](https://x.y) [c](#here) ![d](d.svg \"t\")";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md", "d.svg"]);
    }
}
