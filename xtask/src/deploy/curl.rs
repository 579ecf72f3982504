//! Requests as a person makes them.

use std::path::Path;

use serde_json::Value;

use xtask::error::{Context, Error, Result};
use xtask::process::{Tool, available};
use xtask::reporter::Reporter;

use super::place::Place;
use crate::apt;

/// In seconds; the longest answer waits for a turn of an agent that starts first.
const PATIENCE: &str = "90";

/// Makes sure that there is a curl.
pub(super) fn ensure(reporter: &Reporter) -> Result<()> {
    if available("curl") {
        return Ok(());
    }
    apt::install(&["curl"], reporter)
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    text: String,
}

impl Answer {
    /// Its body; null when it is no JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// What to show of it.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.status, self.text.trim())
    }

    /// The body of a success.
    pub(super) fn expect(self, status: u16, what: &str) -> Result<Value> {
        if self.status == status {
            return Ok(self.json());
        }
        Err(Error::new(format!("{what} was not answered with {status}")).output(self.shown()))
    }
}

/// Asks with the token.
pub(super) fn ask(place: &Place, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
    request(place, Some(&place.credentials()), method, path, body)
}

/// Asks without any token.
pub(super) fn ask_as_nobody(place: &Place, path: &str) -> Result<Answer> {
    request(place, None, "GET", path, None)
}

fn request(
    place: &Place,
    credentials: Option<&Path>,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer> {
    let mut curl = Tool::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            PATIENCE,
        ])
        .args(["--request", method, "--write-out", "\n%{http_code}"]);
    if let Some(file) = credentials {
        curl = curl.arg("--header").arg(format!("@{}", file.display()));
    }
    if let Some(body) = body {
        curl = curl.args([
            "--header",
            "Content-Type: application/json",
            "--data",
            &body.to_string(),
        ]);
    }
    let said = curl
        .arg(format!("http://127.0.0.1:{}{path}", place.port))
        .output()?
        .stdout;
    let (text, status) = said.rsplit_once('\n').unwrap_or(("", &said));
    Ok(Answer {
        status: status
            .trim()
            .parse()
            .context(|| "curl told no status".to_owned())?,
        text: text.to_owned(),
    })
}
