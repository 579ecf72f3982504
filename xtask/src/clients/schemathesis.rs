//! schemathesis: tries to break the HTTP API by its own description.
//!
//! It reads the OpenAPI document that the server serves, makes requests that the document allows and requests that it forbids,
//! follows what one answer says into the next request, and holds every answer against the document. All of its checks are on.
//! The server is `examples/memory_server.rs` of `http-frontend`: everything but the containers is real.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use xtask::error::{Context, Error, Result};
use xtask::process::Tool;
use xtask::reporter::Reporter;
use xtask::workspace;

use super::judge::Tally;
use super::running::Running;
use super::{kept, wheels};

/// What cargo has to build for it.
pub(super) const TARGET: [&str; 4] = ["--package", "http-frontend", "--example", "memory_server"];
const CONFIG: &str = concat!(
    include_str!("packages/schemathesis.toml"),
    "\n",
    include_str!("../../../crates/http-frontend/schemathesis.toml")
);
const HOOKS: &str = include_str!("packages/schemathesis_hooks.py");
/// How many requests of each kind an operation gets at most; the same ones every time. With more it takes minutes.
const EXAMPLES: &str = "15";
const SEED: &str = "1";
/// Operations at once: one that reads a stream waits, and the others go on meanwhile.
const WORKERS: &str = "4";
/// In seconds. A stream of events that goes on is read for so long.
const PATIENCE: &str = "3";
/// Several times what it takes.
const LIMIT: Duration = Duration::from_secs(8 * 60);
const SHOWN_LINES: usize = 150;

/// The server, as a debug build makes it.
pub(super) fn program() -> PathBuf {
    workspace::target().join("debug/examples/memory_server")
}

/// Runs it, to its verdict.
pub(super) fn check(reporter: &Reporter) -> Result<Tally> {
    let environment = wheels::SCHEMATHESIS.ensure(reporter)?;
    let mut step = reporter.step("the HTTP API: schemathesis");
    let place = tempfile::Builder::new()
        .prefix("cofferdam-schemathesis-")
        .tempdir();
    let place = place.context(|| "cannot make a temporary directory".to_owned())?;
    kept::write(&place.path().join("schemathesis.toml"), CONFIG)?;
    kept::write(&place.path().join("hooks.py"), HOOKS)?;
    // It serves until its input ends, so it gets one that does not.
    let prepare = |tool: Tool| tool.args(["--sessions", "3"]).stdin(Stdio::piped());
    let mut server = Running::start(&program(), prepare, &place.path().join("log"))?;
    let told: Value = serde_json::from_str(&server.line("\"token\"")?)
        .context(|| "the server does not say where it is".to_owned())?;
    let text = |field: &str| told[field].as_str().unwrap_or_default();
    let tool = Tool::new(environment.join("bin/schemathesis"))
        .arg("run")
        .arg(format!("{}/v1/openapi.json", text("address")))
        .args(["--header", &format!("Authorization: Bearer {}", text("token"))])
        // All checks are on without a word; one here would override the file.
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--workers", WORKERS])
        .args([
            "--max-examples",
            EXAMPLES,
            "--seed",
            SEED,
            "--continue-on-failure",
        ])
        .args(["--request-timeout", PATIENCE, "--warnings", "off"])
        .env("NO_COLOR", "1")
        .env("COLUMNS", "140")
        .dir(place.path())
        .limit(LIMIT);
    let mut lines = Vec::new();
    let ended = tool.run(|line| {
        step.update(line);
        lines.push(line.to_owned());
    });
    let words = server.last_words();
    let stopped = server.stop();
    let tally = verdict(&lines, ended.is_ok());
    if tally.failures.is_empty() && tally.passed == 0 {
        return Err(Error::new("schemathesis checked nothing").output(shown(&lines, &words)));
    }
    step.done(&tally.to_string());
    if !tally.failures.is_empty() {
        reporter.notice(&shown(&lines, &words));
    }
    stopped?;
    Ok(tally)
}

/// What it found, and how many operations it found nothing at.
fn verdict(lines: &[String], succeeded: bool) -> Tally {
    let number = |mark: &str| -> Option<u64> {
        let line = lines.iter().find(|line| line.contains(mark))?;
        let digits = line.split(mark).nth(1)?.trim();
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let mut tally = Tally {
        passed: number("Tested:").unwrap_or_default(),
        ..Tally::default()
    };
    let headings = lines.iter().map(|line| line.trim_matches(['_', ' ']));
    let failed = headings
        .zip(lines)
        .filter(|(heading, line)| line.starts_with("__") && is_operation(heading));
    tally
        .failures
        .extend(failed.map(|(heading, _)| heading.to_owned()));
    if !succeeded && tally.failures.is_empty() {
        tally
            .failures
            .push("schemathesis failed, and names no operation".to_owned());
    }
    tally
}

/// `POST /v1/sessions`
fn is_operation(heading: &str) -> bool {
    let mut words = heading.split_whitespace();
    let method = words
        .next()
        .is_some_and(|word| word.chars().all(|c| c.is_ascii_uppercase()));
    method && words.next().is_some_and(|word| word.starts_with('/'))
}

/// From where the failures begin.
fn shown(lines: &[String], server: &str) -> String {
    let from = lines
        .iter()
        .position(|line| line.contains("= FAILURES =") || line.contains("= ERRORS ="));
    let from = from.unwrap_or(lines.len().saturating_sub(SHOWN_LINES / 3));
    let mut text = lines[from..]
        .iter()
        .take(SHOWN_LINES)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    if lines.len() - from > SHOWN_LINES {
        text.push_str(&format!("\n… {} more lines", lines.len() - from - SHOWN_LINES));
    }
    format!("{text}\nthe server's last words:\n{server}")
}
