//! Manifests against locks.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};

use super::{LockedState, Mismatch};
use crate::manifests::{Declared, Ecosystem, Lock, Manifest, Scope, Source, python_name};
use crate::text;

/// Versions by package.
pub(super) type Versions<'a> = BTreeMap<String, BTreeSet<&'a str>>;

/// How a family compares names.
pub(super) fn key(ecosystem: Ecosystem, name: &str) -> String {
    match ecosystem {
        Ecosystem::Python => python_name(name),
        Ecosystem::Php => name.to_ascii_lowercase(),
        _ => name.to_owned(),
    }
}

pub(super) fn versions(lock: &Lock) -> Versions<'_> {
    let mut versions = Versions::new();
    for package in &lock.packages {
        versions
            .entry(key(lock.ecosystem, &package.name))
            .or_default()
            .insert(&package.version);
    }
    versions
}

/// The lock that counts for a manifest: that of its directory or, where workspaces share one, of the nearest above.
pub(super) fn lock_of<'a>(manifest: &Manifest, locks: &'a [Lock]) -> Option<&'a Lock> {
    if manifest.is_pin_list {
        return None;
    }
    let shared = matches!(
        manifest.ecosystem,
        Ecosystem::Cargo | Ecosystem::Npm | Ecosystem::Python
    );
    let mut directory = Some(manifest.directory());
    while let Some(here) = directory {
        let found = locks.iter().find(|lock| {
            lock.ecosystem == manifest.ecosystem && lock.directory() == here && fits(manifest, lock)
        });
        if found.is_some() {
            return found;
        }
        directory = (shared && !here.is_empty()).then(|| text::parent(here));
    }
    None
}

/// pipenv's lock is for its own manifest alone.
fn fits(manifest: &Manifest, lock: &Lock) -> bool {
    let pipenv = |path: &str| text::file_name(path).starts_with("Pipfile");
    pipenv(&manifest.path) == pipenv(&lock.path)
}

pub(super) fn state(manifest: &Manifest, lock: Option<&Lock>, mismatched: bool) -> LockedState {
    if !manifest.readable {
        return LockedState::Unreadable;
    }
    if manifest.is_pin_list {
        return LockedState::PinList;
    }
    match lock {
        Some(lock) if !lock.readable => LockedState::LockUnreadable,
        Some(_) if mismatched => LockedState::Outdated,
        Some(_) => LockedState::Current,
        None if needs_lock(manifest) => LockedState::Missing,
        None => LockedState::NotNeeded,
    }
}

/// Maven knows no locks and Gradle makes none unless it is told to; what only wants directories needs none.
fn needs_lock(manifest: &Manifest) -> bool {
    let wants = manifest
        .declared
        .iter()
        .any(|declared| !matches!(declared.source, Source::Path(_)) && declared.scope != Scope::Peer);
    let is_list = text::extension(&manifest.path).as_deref() == Some("in");
    wants && !is_list && !matches!(manifest.ecosystem, Ecosystem::Maven | Ecosystem::Gradle)
}

pub(super) fn mismatches(manifest: &Manifest, lock: &Lock, versions: &Versions<'_>) -> Vec<Mismatch> {
    if !lock.readable || !manifest.readable {
        return Vec::new();
    }
    let wanted = wanted(manifest, lock);
    manifest
        .declared
        .iter()
        .filter_map(|declared| {
            let problem = match wanted {
                Some(wanted) => against_wanted(declared, wanted),
                None => against_versions(manifest, lock, declared, versions),
            }?;
            Some(Mismatch {
                manifest: manifest.path.clone(),
                lock: lock.path.clone(),
                name: declared.name.clone(),
                problem,
            })
        })
        .collect()
}

/// What the lock says that this manifest wants, for locks that say so.
fn wanted<'a>(manifest: &Manifest, lock: &'a Lock) -> Option<&'a BTreeMap<String, String>> {
    let below = manifest.directory().strip_prefix(lock.directory())?;
    lock.wanted.get(below.trim_start_matches('/'))
}

fn against_wanted(declared: &Declared, wanted: &BTreeMap<String, String>) -> Option<String> {
    // Locks may leave peers to whoever brings them, and catalogues are resolved elsewhere.
    if declared.scope == Scope::Peer || declared.source == Source::Inherited {
        return None;
    }
    match (wanted.get(&declared.name), &declared.requirement) {
        (None, _) => Some("the lock does not know it".to_owned()),
        (Some(locked), Some(asked)) if locked != asked => Some(format!(
            "the lock was made for {locked:?}, the manifest wants {asked:?}"
        )),
        _ => None,
    }
}

fn against_versions(
    manifest: &Manifest,
    lock: &Lock,
    declared: &Declared,
    versions: &Versions<'_>,
) -> Option<String> {
    if matches!(declared.source, Source::Path(_)) || !is_locked(manifest.ecosystem, declared) {
        return None;
    }
    let requirement = declared.requirement.as_deref().unwrap_or_default();
    if !lock.keys.is_empty() {
        let known = match manifest.ecosystem {
            // The range is part of the key; what has a protocol of its own is written in other ways.
            Ecosystem::Npm if declared.source == Source::Registry && !requirement.contains(':') => lock
                .keys
                .contains(&text::excerpt(&format!("{}@{requirement}", declared.name))),
            Ecosystem::Npm => true,
            _ => lock.keys.contains(&declared.name),
        };
        return (!known).then(|| "the lock does not know it as it is wanted".to_owned());
    }
    let Some(locked) = versions.get(&key(manifest.ecosystem, &declared.name)) else {
        return Some("the lock does not know it".to_owned());
    };
    match manifest.ecosystem {
        Ecosystem::Cargo => against_range(requirement, locked),
        Ecosystem::Go if !locked.contains(requirement) => {
            Some(format!("the lock has no checksum for {requirement}"))
        }
        _ => None,
    }
}

/// Whether the family's lock must know such a dependency.
fn is_locked(ecosystem: Ecosystem, declared: &Declared) -> bool {
    match declared.scope {
        Scope::Peer => false,
        // Declared for those that inherit it; nobody may.
        Scope::Workspace => false,
        // Extras are locked by some tools only.
        Scope::Optional => ecosystem != Ecosystem::Python,
        _ => true,
    }
}

fn against_range(requirement: &str, locked: &BTreeSet<&str>) -> Option<String> {
    let range = VersionReq::parse(requirement).ok()?;
    let fits = locked
        .iter()
        .filter_map(|version| Version::parse(version).ok())
        .any(|version| range.matches(&version));
    (!fits && !requirement.is_empty()).then(|| format!("no version in the lock fits {requirement:?}"))
}
