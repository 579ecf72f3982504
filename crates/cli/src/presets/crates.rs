//! `crates`: the registries that cargo on this machine has used, as it keeps them.
//!
//! Cargo has no command that prints its index, but it keeps each index that it asked in a folder named after the host,
//! with the index's own word about where crates are downloaded.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use session_core::error::Result;

use super::tool::Tools;
use super::{Address, Found};
use crate::settings::env;

/// The form of a folder's name: the host, a `-`, and a hash of 16 digits.
const HASH: usize = 16;
/// An index's configuration is a line.
const MAX_CONFIG: u64 = 64 << 10;
/// More registries than anybody uses.
const MAX_REGISTRIES: usize = 32;

pub(super) async fn find(tools: &Tools, home: Option<&Path>) -> Result<Found> {
    let cargo_home = tools
        .variable(env::CARGO_HOME)
        .map(PathBuf::from)
        .or_else(|| home.map(|home| home.join(".cargo")));
    let Some(cargo_home) = cargo_home else {
        return Ok(Found::default());
    };
    let addresses = tokio::task::spawn_blocking(move || indexes(&cargo_home.join("registry/index"))).await;
    Ok(Found {
        addresses: addresses.unwrap_or_default(),
        ..Found::default()
    })
}

fn indexes(folder: &Path) -> Vec<Address> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .flatten()
        .take(MAX_REGISTRIES)
        .map(|entry| entry.path())
        .collect();
    names.sort_unstable();
    names.iter().flat_map(|index| index_of(index)).collect()
}

fn index_of(folder: &Path) -> Vec<Address> {
    #[derive(Deserialize)]
    struct Config {
        dl: String,
    }
    let host = folder
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.rsplit_once('-'))
        .filter(|(_, hash)| hash.len() == HASH)
        .and_then(|(host, _)| Address::parse(&format!("https://{host}/")).ok());
    let Some(host) = host else { return Vec::new() };
    let config = folder.join("config.json");
    let small = std::fs::metadata(&config).is_ok_and(|file| file.len() <= MAX_CONFIG);
    let downloads = small
        .then(|| std::fs::read(&config).ok())
        .flatten()
        .and_then(|text| serde_json::from_slice::<Config>(&text).ok())
        .and_then(|config| Address::parse(&config.dl).ok());
    std::iter::once(host).chain(downloads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_and_where_its_crates_are() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("index.example-0123456789abcdef");
        std::fs::create_dir(&index).unwrap();
        std::fs::write(
            index.join("config.json"),
            r#"{"dl":"https://files.example/crates","api":"x"}"#,
        )
        .unwrap();
        std::fs::create_dir(dir.path().join("something-else")).unwrap();
        let found: Vec<String> = indexes(dir.path()).iter().map(Address::to_string).collect();
        assert_eq!(found, ["https://index.example/", "https://files.example/crates"]);
        assert!(indexes(&dir.path().join("absent")).is_empty());
    }
}
