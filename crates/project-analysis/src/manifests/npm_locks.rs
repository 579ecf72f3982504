//! The locks of npm, yarn and pnpm.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Ecosystem, Lock, MAX_LOCKED};
use crate::project::File;

#[derive(Deserialize)]
struct NpmLock {
    #[serde(default)]
    packages: BTreeMap<String, NpmPackage>,
    /// Only the first version of the format.
    #[serde(default)]
    dependencies: BTreeMap<String, NpmPackage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NpmPackage {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    link: bool,
    #[serde(default)]
    deprecated: Option<Deprecated>,
    #[serde(flatten)]
    sections: Sections,
}

/// Some registries say `true`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Deprecated {
    Why(String),
    Is(bool),
}

impl Deprecated {
    fn why(&self) -> Option<&str> {
        match self {
            Self::Why(why) => Some(why),
            Self::Is(true) => Some("deprecated"),
            Self::Is(false) => None,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Sections {
    #[serde(default)]
    dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, serde_json::Value>,
}

pub(super) fn npm(file: &File, text: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Npm, file);
    let Ok(parsed) = serde_json::from_str::<NpmLock>(text) else {
        lock.readable = false;
        return lock;
    };
    for (path, package) in &parsed.packages {
        match path.rsplit_once("node_modules/") {
            Some((_, name)) if !package.link => lock_npm(&mut lock, name, package),
            Some(_) => {}
            None => want(&mut lock, path, &package.sections),
        }
    }
    if parsed.packages.is_empty() {
        for (name, package) in &parsed.dependencies {
            lock_npm(&mut lock, name, package);
        }
    }
    lock
}

fn lock_npm(lock: &mut Lock, name: &str, package: &NpmPackage) {
    let name = package.name.as_deref().unwrap_or(name);
    let deprecated = package.deprecated.as_ref().and_then(Deprecated::why);
    lock.lock(name, package.version.as_deref().unwrap_or_default(), deprecated);
}

fn want(lock: &mut Lock, directory: &str, sections: &Sections) {
    let wanted = lock.wanted.entry(directory.to_owned()).or_default();
    for section in [
        &sections.dependencies,
        &sections.dev_dependencies,
        &sections.optional_dependencies,
    ] {
        for (name, requirement) in section.iter().take(MAX_LOCKED) {
            if let Some(requirement) = requirement.as_str() {
                wanted.insert(name.clone(), crate::text::excerpt(requirement));
            }
        }
    }
}

/// Both forms of `yarn.lock` have keys at the margin that end with `:`, and a version below.
pub(super) fn yarn(file: &File, text: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Npm, file);
    let mut keys: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(head) = line
            .strip_suffix(':')
            .filter(|head| !head.starts_with(char::is_whitespace))
        {
            keys = head.split(',').map(|key| key.trim().trim_matches('"')).collect();
        } else if let Some(version) = line.trim().strip_prefix("version") {
            let version = version.trim_start_matches(':').trim().trim_matches('"');
            yarn_package(&mut lock, &keys, version);
            keys.clear();
        }
    }
    lock
}

fn yarn_package(lock: &mut Lock, keys: &[&str], version: &str) {
    // `@scope/name@range`: the first `@` may belong to the name.
    let name = keys.first().and_then(|key| split_key(key)).map(|(name, _)| name);
    let Some(name) = name.filter(|name| *name != "__metadata") else {
        return;
    };
    if keys.iter().any(|key| key.contains("@workspace:")) {
        return;
    }
    lock.lock(name, version, None);
    for key in keys {
        if lock.keys.len() < MAX_LOCKED
            && let Some((name, range)) = split_key(key)
        {
            let range = range.strip_prefix("npm:").unwrap_or(range);
            lock.keys.insert(crate::text::excerpt(&format!("{name}@{range}")));
        }
    }
}

fn split_key(key: &str) -> Option<(&str, &str)> {
    let at = key.char_indices().skip(1).find(|(_, c)| *c == '@')?.0;
    Some((&key[..at], &key[at + 1..]))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PnpmLock {
    #[serde(default)]
    importers: BTreeMap<String, PnpmImporter>,
    #[serde(default)]
    packages: BTreeMap<String, Option<PnpmPackage>>,
    #[serde(flatten)]
    alone: PnpmImporter,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PnpmImporter {
    #[serde(default)]
    dependencies: BTreeMap<String, PnpmWanted>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, PnpmWanted>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, PnpmWanted>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PnpmWanted {
    Specified {
        specifier: String,
    },
    /// A version alone, as older locks have it.
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct PnpmPackage {
    #[serde(default)]
    deprecated: Option<Deprecated>,
}

pub(super) fn pnpm(file: &File, text: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Npm, file);
    let Ok(mut parsed) = serde_saphyr::from_str::<PnpmLock>(text) else {
        lock.readable = false;
        return lock;
    };
    if parsed.importers.is_empty() {
        parsed.importers.insert(".".to_owned(), parsed.alone);
    }
    for (directory, importer) in &parsed.importers {
        let directory = if directory == "." { "" } else { directory };
        let wanted = lock.wanted.entry(directory.to_owned()).or_default();
        for section in [
            &importer.dependencies,
            &importer.dev_dependencies,
            &importer.optional_dependencies,
        ] {
            for (name, how) in section.iter().take(MAX_LOCKED) {
                match how {
                    PnpmWanted::Specified { specifier } => {
                        wanted.insert(name.clone(), crate::text::excerpt(specifier));
                    }
                    PnpmWanted::Other(_) => {}
                }
            }
        }
    }
    for (key, package) in &parsed.packages {
        // `/name/1.0.0`, `/name@1.0.0` or `name@1.0.0(peer@2.0.0)`.
        let key = key.trim_start_matches('/');
        let key = key.split('(').next().unwrap_or(key);
        let deprecated = package
            .as_ref()
            .and_then(|package| package.deprecated.as_ref())
            .and_then(Deprecated::why);
        if let Some((name, version)) = split_key(key).or_else(|| key.rsplit_once('/')) {
            lock.lock(name, version, deprecated);
        }
    }
    lock
}
