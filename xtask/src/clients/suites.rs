//! The published conformance suites: what they ask, and what they found.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use xtask::error::{Context, Error, Result};
use xtask::reporter::Step;

use super::packages::{self, Packages};

/// A suite that takes longer hangs; it takes a tenth of that.
const LIMIT: Duration = Duration::from_secs(300);
/// What a suite puts behind a scenario's name in the name of its results: a dash and a time.
const STAMP: usize = "-2026-07-28T00-00-00-000Z".len();

/// A suite, by the newest revision of the protocol that it knows for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    /// Revisions up to 2025-11-25.
    Older,
    /// 2026-07-28, and those before it as they are seen now.
    Newer,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Passed,
    /// Failed, or warned: what a server should do is done as well as what it must.
    Failed,
    /// There was nothing to check.
    Skipped,
}

/// One check of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) scenario: String,
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) message: String,
}

impl Suite {
    pub(super) const ALL: [Self; 2] = [Self::Older, Self::Newer];

    /// Its alias among the packages: the newest revision that it is for.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Older => "conformance-2025-11-25",
            Self::Newer => "conformance-2026-07-28",
        }
    }

    /// As it is called in reports.
    pub(super) fn title(self) -> Result<String> {
        Ok(format!("conformance {}", packages::version(self.package())?))
    }

    fn script(self) -> String {
        format!("{}/dist/index.js", self.package())
    }

    /// The names of its scenarios.
    pub(super) fn scenarios(self, packages: &Packages) -> Result<BTreeSet<String>> {
        let listed = packages
            .run(&self.script())
            .args(["list", "--server"])
            .limit(LIMIT)
            .output()?;
        let names = listed.stdout.lines().filter_map(|line| {
            let (name, _revisions) = line.trim().strip_prefix("- ")?.split_once(" [")?;
            Some(name.to_owned())
        });
        let names: BTreeSet<String> = names.collect();
        if names.is_empty() {
            return Err(Error::new(format!("{} lists no scenarios", self.title()?)).output(listed.stdout));
        }
        Ok(names)
    }

    /// Runs its scenarios against a server, or the one that is named. `dir` takes the results.
    pub(super) fn run(
        self,
        packages: &Packages,
        server: SocketAddr,
        only: Option<&str>,
        dir: &Path,
        step: &mut Step,
    ) -> Result<Vec<Check>> {
        let dir = dir.join(self.package());
        let (wanted, choice) = match only {
            Some(name) => (BTreeSet::from([name.to_owned()]), ["--scenario", name]),
            None => (self.scenarios(packages)?, ["--suite", "all"]),
        };
        // It also fails when a check does; what it wrote down decides.
        let ended = packages
            .run(&self.script())
            .args(["server", "--url", &format!("http://{server}/mcp")])
            .arg("--output-dir")
            .arg(&dir)
            .args(choice)
            .limit(LIMIT)
            .run(|line| step.update(line));
        let checks = read(&dir)?;
        let done: BTreeSet<String> = checks.iter().map(|(scenario, _)| scenario.clone()).collect();
        if let Some(missing) = wanted.difference(&done).next() {
            let failure = Error::new(format!(
                "{} did not come to the scenario {missing}",
                self.title()?
            ));
            return Err(match ended {
                Ok(_) => failure,
                Err(error) => failure.output(error.report()),
            });
        }
        Ok(checks.into_iter().flat_map(|(_, checks)| checks).collect())
    }
}

/// The results that a suite left in a directory, by scenario.
fn read(dir: &Path) -> Result<Vec<(String, Vec<Check>)>> {
    let cannot = || format!("cannot read {}", dir.display());
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).context(cannot)? {
        found.push(entry.context(cannot)?.path());
    }
    found.sort();
    found.iter().map(|path| scenario(path)).collect()
}

fn scenario(path: &Path) -> Result<(String, Vec<Check>)> {
    let file = path.join("checks.json");
    let odd = || {
        Error::new(format!(
            "{} has another form than the suites' results had",
            file.display()
        ))
    };
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
        let name = name.strip_prefix("server-")?;
        name.get(..name.len().checked_sub(STAMP)?)
    });
    let name = name.ok_or_else(odd)?;
    let text = std::fs::read_to_string(&file).context(|| format!("cannot read {}", file.display()))?;
    let checks: Vec<Value> =
        serde_json::from_str(&text).context(|| format!("cannot read {}", file.display()))?;
    let checks = checks.iter().map(|found| {
        Some(Check {
            scenario: name.to_owned(),
            name: found["id"].as_str()?.to_owned(),
            status: match found["status"].as_str()? {
                "SUCCESS" => Status::Passed,
                "SKIPPED" | "INFO" => Status::Skipped,
                _ => Status::Failed,
            },
            message: found["errorMessage"].as_str().unwrap_or_default().to_owned(),
        })
    });
    let checks: Option<Vec<Check>> = checks.collect();
    Ok((name.to_owned(), checks.ok_or_else(odd)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_with_their_scenario() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("server-tools-list-2026-11-21T13-59-27-390Z");
        std::fs::create_dir(&place).expect("made");
        let checks = r#"[{"id":"a","status":"SUCCESS"},{"id":"b","status":"WARNING","errorMessage":"no"},
            {"id":"c","status":"INFO"},{"id":"d","status":"never heard of"}]"#;
        std::fs::write(place.join("checks.json"), checks).expect("written");

        let read = read(dir.path()).expect("read");
        let [(scenario, checks)] = read.as_slice() else {
            panic!("{read:?}");
        };
        assert_eq!(scenario, "tools-list");
        let statuses: Vec<_> = checks.iter().map(|check| check.status).collect();
        assert_eq!(
            statuses,
            [Status::Passed, Status::Failed, Status::Skipped, Status::Failed]
        );
        assert_eq!(checks[1].message, "no");
    }

    #[test]
    fn other_forms_are_no_silent_success() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(read(&dir.path().join("absent")).expect("nothing").is_empty());
        std::fs::create_dir(dir.path().join("tools-list")).expect("made");
        assert!(read(dir.path()).is_err());
    }
}
