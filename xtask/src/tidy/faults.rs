//! Rules about fault points: the list and the sources say the same, and no program that is released has one in it.

use std::collections::BTreeMap;
use std::path::Path;

use super::Finding;
use xtask::error::{Context, Result};
use xtask::process::Tool;
use xtask::workspace;

/// Where every point is listed.
const LIST: &str = "docs/reliability/fault-points.md";
/// So many places there are at least at which a process may die at the worst moment.
const FEWEST: usize = 60;
const MACRO: &str = concat!("fail_", "point!(");

/// A point in the sources or in the list.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    name: String,
    /// Whether the code there can fail.
    fails: bool,
    file: String,
}

pub(super) fn check() -> Result<Vec<Finding>> {
    let path = workspace::root().join(LIST);
    let page = std::fs::read_to_string(&path).context(|| format!("cannot read {LIST}"))?;
    let files = Tool::new("git")
        .args(["grep", "-l", "-F", MACRO, "--", "crates/*.rs"])
        .dir(workspace::root())
        .output()?;
    let mut found = Vec::new();
    for file in files.stdout.lines() {
        let text = std::fs::read_to_string(workspace::root().join(file))
            .context(|| format!("cannot read {file}"))?;
        found.extend(in_source(file, &text));
    }
    let mut findings = compare(&listed(&page), &found);
    findings.extend(released()?);
    Ok(findings)
}

/// A program that is built without being told otherwise has no points in it.
fn released() -> Result<Option<Finding>> {
    let tree = Tool::new(workspace::env("CARGO").unwrap_or_else(|| "cargo".to_owned()))
        .args([
            "tree",
            "--locked",
            "--package",
            "cli",
            "--edges",
            "features,no-dev",
            "--invert",
            "fail",
        ])
        .dir(workspace::root())
        .output()?;
    let enabled = tree.stdout.contains("fail feature \"failpoints\"");
    Ok(enabled.then(|| {
        Finding::new(
            "crates/cli/Cargo.toml",
            "the programs have fault points in them without being told to",
        )
    }))
}

/// What a program that is released must not have in it.
pub(super) fn check_program(program: &Path) -> Result<Vec<Finding>> {
    let page =
        std::fs::read_to_string(workspace::root().join(LIST)).context(|| format!("cannot read {LIST}"))?;
    let bytes = std::fs::read(program).context(|| format!("cannot read {}", program.display()))?;
    let names = listed(&page).into_iter().map(|point| point.name);
    Ok(names
        .chain(["COFFERDAM_FAULTS".to_owned()])
        .filter(|name| memchr::memmem::find(&bytes, name.as_bytes()).is_some())
        .map(|name| {
            Finding::new(
                program.display().to_string(),
                format!("has the fault point `{name}` in it"),
            )
        })
        .collect())
}

fn in_source(file: &str, text: &str) -> Vec<Point> {
    let uses = text.split(MACRO).skip(1);
    uses.filter_map(|rest| {
        let (name, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(Point {
            name: name.to_owned(),
            fails: rest.trim_start().starts_with(','),
            file: file.to_owned(),
        })
    })
    .collect()
}

fn listed(page: &str) -> Vec<Point> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let (name, row) = row.split_once("` |")?;
        let (faults, file) = row.split_once('|')?;
        Some(Point {
            name: name.to_owned(),
            fails: faults.contains("error"),
            file: file.trim_matches(|c: char| " |`".contains(c)).to_owned(),
        })
    })
    .collect()
}

fn compare(listed: &[Point], found: &[Point]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (page, sources) = (by_name(listed), by_name(found));
    for (places, points) in [(LIST, &page), ("the sources", &sources)] {
        let twice = points.iter().filter(|(_, points)| points.len() > 1);
        findings.extend(
            twice.map(|(name, _)| Finding::new(places, format!("names the fault point `{name}` twice"))),
        );
    }
    for (name, points) in &sources {
        let rule = match page.get(name).map(|listed| listed[0]) {
            None => "is not in the list of fault points",
            Some(listed) if listed != points[0] => {
                "is listed with another file, or with faults that it cannot have"
            }
            Some(_) => continue,
        };
        findings.push(Finding::new(
            points[0].file.clone(),
            format!("`{name}` {rule} ({LIST})"),
        ));
    }
    let gone = page.keys().filter(|name| !sources.contains_key(*name));
    findings.extend(
        gone.map(|name| Finding::new(LIST, format!("lists `{name}`, which is nowhere in the sources"))),
    );
    if found.len() < FEWEST {
        findings.push(Finding::new(
            LIST,
            format!("lists fewer than {FEWEST} fault points"),
        ));
    }
    findings
}

fn by_name(points: &[Point]) -> BTreeMap<&str, Vec<&Point>> {
    let mut names: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    for point in points {
        names.entry(&point.name).or_default().push(point);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_the_sources_say_the_same() {
        let many = |count: usize| -> (String, String) {
            let rows = (0..count).map(|n| format!("| `a.b{n}` | kill, delay, error | `a.rs` |\n"));
            let uses = (0..count).map(|n| format!("fail::{MACRO}\n    \"a.b{n}\", |_| x());\n"));
            (rows.collect(), uses.collect())
        };
        let compared = |page: &str, source: &str| -> Vec<String> {
            let findings = compare(&listed(page), &in_source("a.rs", source));
            findings.iter().map(Finding::to_string).collect()
        };
        let (page, source) = many(FEWEST);
        assert_eq!(compared(&page, &source), Vec::<String>::new());
        let more = format!("{source}fail::{MACRO}\"a.new\");\n");
        assert_eq!(compared(&page, &more).len(), 1);
        let listed = format!("{page}| `a.new` | kill, delay | `a.rs` |\n");
        assert_eq!(compared(&listed, &more), Vec::<String>::new());
        assert_eq!(compared(&listed, &source).len(), 1, "nowhere in the sources");
        let wrong = listed.replace("kill, delay | ", "kill, delay, error | ");
        assert_eq!(compared(&wrong, &more).len(), 1, "it cannot fail");
        let twice = format!("{more}fail::{MACRO}\"a.new\");\n");
        assert_eq!(compared(&listed, &twice).len(), 1);
        let (page, source) = many(FEWEST - 1);
        assert_eq!(compared(&page, &source).len(), 1, "too few");
    }
}
