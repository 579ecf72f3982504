//! `pypi`: the index that pip on this machine uses, and the host from which it takes files.

use serde::Deserialize;
use session_core::error::Result;

use super::tool::Tools;
use super::{Address, Found};
use crate::settings::env;

/// The words with which pip's help introduces its own default.
const DEFAULT: &str = "(default";
/// A project that every index has: the tool itself.
const PROJECT: &str = "pip";

pub(super) async fn find(tools: &Tools) -> Result<Found> {
    let mut found = Found::default();
    let Some(index) = index(tools).await else {
        return Ok(found);
    };
    let index = Address::parse(&index)?;
    for variable in ["PIP_INDEX_URL", "UV_DEFAULT_INDEX"] {
        found.environment.insert(variable.to_owned(), index.to_string());
    }
    found.addresses.push(index);
    found.addresses.extend(files(tools).await);
    Ok(found)
}

async fn index(tools: &Tools) -> Option<String> {
    if let Some(named) = tools
        .variable(env::PIP_INDEX_URL)
        .or_else(|| tools.variable(env::UV_DEFAULT_INDEX))
    {
        return Some(named);
    }
    let configured = tools
        .ask(&["python3", "-m", "pip", "config", "get", "global.index-url"])
        .await;
    match configured {
        Some(configured) => Some(configured),
        None => default_of(&tools.ask(&["python3", "-m", "pip", "install", "--help"]).await?),
    }
}

/// What stands in pip's own help behind the option for the index.
fn default_of(help: &str) -> Option<String> {
    let (_, described) = help.split_once("--index-url <url>")?;
    let (_, after) = described.split_once(DEFAULT)?;
    let (default, _) = after.split_once(')')?;
    Some(default.trim().to_owned())
}

/// Files are often on another host than the index, and only the index knows which: pip is asked where it would take
/// one from, and takes nothing.
async fn files(tools: &Tools) -> Option<Address> {
    let argv = [
        "python3",
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--no-deps",
        "--quiet",
        "--break-system-packages",
        "--report",
        "-",
        PROJECT,
    ];
    file_of(&tools.ask(&argv).await?)
}

fn file_of(report: &str) -> Option<Address> {
    #[derive(Deserialize)]
    struct Report {
        install: Vec<Install>,
    }
    #[derive(Deserialize)]
    struct Install {
        download_info: Download,
    }
    #[derive(Deserialize)]
    struct Download {
        url: String,
    }
    let report: Report = serde_json::from_str(report).ok()?;
    Address::parse(&report.install.first()?.download_info.url).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_stands_in_the_help() {
        let help = "  -i, --index-url <url>       Base URL of the Python Package Index (default\n\
                    \x20                             https://index.example/simple). This should point\n\
                    \x20 --extra-index-url <url>     Extra (default none)";
        assert_eq!(default_of(help).unwrap(), "https://index.example/simple");
        assert_eq!(default_of("no such option"), None);
    }

    #[test]
    fn the_host_of_files_stands_in_the_report() {
        let report =
            r#"{"install":[{"download_info":{"url":"https://files.example/pip.whl"},"requested":true}]}"#;
        assert_eq!(
            file_of(report).unwrap().to_string(),
            "https://files.example/pip.whl"
        );
        assert_eq!(file_of("{}"), None);
    }
}
