//! What a project depends on: what its manifests want, what its locks chose, and where the two disagree.

mod compare;
mod pins;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::manifests::{self, Ecosystem, Lock, Manifest, Manifests, Scope, Source};
use crate::project::Project;
use crate::report::Samples;
use crate::text;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Dependencies {
    /// Each family of package managers that was found.
    pub ecosystems: Vec<EcosystemSummary>,
    /// Every manifest, and what its lock is to it.
    pub manifests: Samples<ManifestState>,
    /// Every lock.
    pub locks: Samples<LockState>,
    /// What manifests want, one item for each place.
    pub declared: Samples<DeclaredDependency>,
    /// Packages that a lock holds in more than one version.
    pub duplicates: Samples<Duplicate>,
    /// Packages that several manifests want in different ways.
    pub disagreements: Samples<Disagreement>,
    /// What could become another version tomorrow without anybody changing a file.
    pub unpinned: Samples<Unpinned>,
    /// Where a lock does not fit its manifest.
    pub mismatches: Samples<Mismatch>,
    /// Packages of which a registry said, when the lock was written, that they should not be used.
    pub deprecated: Samples<DeprecatedPackage>,
    /// What cannot be known from files alone.
    pub unknown_offline: Vec<String>,
}

/// A family of package managers in this project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EcosystemSummary {
    /// The family.
    pub ecosystem: Ecosystem,
    /// Its manifests.
    pub manifests: u64,
    /// Its locks.
    pub locks: u64,
    /// Dependencies that manifests want.
    pub declared: u64,
    /// Packages in locks.
    pub locked: u64,
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ManifestState {
    /// Its path.
    pub path: String,
    /// Its family.
    pub ecosystem: Ecosystem,
    /// How many dependencies it wants.
    pub declared: u64,
    /// What its lock is to it.
    pub state: LockedState,
    /// The lock that counts for it.
    pub lock: Option<String>,
}

/// What a lock is to a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockedState {
    /// The manifest could not be parsed.
    Unreadable,
    /// It wants nothing, or its family locks nothing by default.
    NotNeeded,
    /// It is a list of pins by itself.
    PinList,
    /// There should be a lock, and there is none.
    Missing,
    /// The lock could not be parsed.
    LockUnreadable,
    /// The lock does not fit.
    Outdated,
    /// The lock fits, as far as can be told offline.
    Current,
}

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LockState {
    /// Its path.
    pub path: String,
    /// Its family.
    pub ecosystem: Ecosystem,
    /// Whether it could be parsed.
    pub readable: bool,
    /// The packages in it.
    pub packages: u64,
}

/// A dependency as a manifest wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeclaredDependency {
    /// The manifest.
    pub manifest: String,
    /// The package.
    pub name: String,
    /// The versions that would do, as they are written.
    pub requirement: Option<String>,
    /// When it is needed.
    pub scope: Scope,
    /// Where it comes from.
    pub source: SourceKind,
    /// The versions in the lock, when there is one and it names the package.
    pub locked: Vec<String>,
}

/// Where a dependency comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SourceKind {
    Registry,
    Path,
    Git,
    Url,
    Inherited,
}

/// A package in several versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Duplicate {
    /// The lock.
    pub lock: String,
    /// The package.
    pub name: String,
    /// Its versions.
    pub versions: Vec<String>,
}

/// A package that is wanted in different ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Disagreement {
    /// The family.
    pub ecosystem: Ecosystem,
    /// The package.
    pub name: String,
    /// The different requirements.
    pub requirements: Vec<String>,
}

/// A dependency that is not held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unpinned {
    /// The manifest.
    pub manifest: String,
    /// The package.
    pub name: String,
    /// The versions that would do.
    pub requirement: Option<String>,
    /// Why it is not held.
    pub reason: String,
}

/// A lock that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Mismatch {
    /// The manifest.
    pub manifest: String,
    /// The lock.
    pub lock: String,
    /// The package.
    pub name: String,
    /// What does not fit.
    pub problem: String,
}

/// A package that should not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeprecatedPackage {
    /// The lock.
    pub lock: String,
    /// The package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What the registry said.
    pub reason: String,
}

pub(crate) fn of(project: &Project) -> Dependencies {
    let found = manifests::all(project);
    let mut report = Dependencies {
        ecosystems: summaries(&found),
        manifests: Samples::default(),
        locks: found.locks.iter().map(lock_state).collect(),
        declared: Samples::default(),
        duplicates: found.locks.iter().flat_map(duplicates).collect(),
        disagreements: disagreements(&found).into_iter().collect(),
        unpinned: Samples::default(),
        mismatches: Samples::default(),
        deprecated: found.locks.iter().flat_map(deprecated).collect(),
        unknown_offline: unknown(&found),
    };
    for manifest in &found.manifests {
        let lock = compare::lock_of(manifest, &found.locks);
        one(&mut report, manifest, lock);
    }
    report
}

fn one(report: &mut Dependencies, manifest: &Manifest, lock: Option<&Lock>) {
    let versions = lock.map(compare::versions).unwrap_or_default();
    let mismatches = lock.map_or_else(Vec::new, |lock| compare::mismatches(manifest, lock, &versions));
    report.manifests.push(ManifestState {
        path: manifest.path.clone(),
        ecosystem: manifest.ecosystem,
        declared: manifest.declared.len() as u64,
        state: compare::state(manifest, lock, !mismatches.is_empty()),
        lock: lock.map(|lock| lock.path.clone()),
    });
    for declared in &manifest.declared {
        let key = compare::key(manifest.ecosystem, &declared.name);
        report.declared.push(DeclaredDependency {
            manifest: manifest.path.clone(),
            name: declared.name.clone(),
            requirement: declared.requirement.clone(),
            scope: declared.scope,
            source: kind(&declared.source),
            locked: versions.get(&key).map_or_else(Vec::new, |versions| {
                versions
                    .iter()
                    .take(10)
                    .map(|version| (*version).to_owned())
                    .collect()
            }),
        });
        if let Some(reason) = pins::unpinned(manifest, declared, lock.is_some()) {
            report.unpinned.push(Unpinned {
                manifest: manifest.path.clone(),
                name: declared.name.clone(),
                requirement: declared.requirement.clone(),
                reason: reason.to_owned(),
            });
        }
    }
    for mismatch in mismatches {
        report.mismatches.push(mismatch);
    }
}

fn kind(source: &Source) -> SourceKind {
    match source {
        Source::Registry => SourceKind::Registry,
        Source::Path(_) => SourceKind::Path,
        Source::Git { .. } => SourceKind::Git,
        Source::Url => SourceKind::Url,
        Source::Inherited => SourceKind::Inherited,
    }
}

fn summaries(found: &Manifests) -> Vec<EcosystemSummary> {
    let mut sums: BTreeMap<Ecosystem, EcosystemSummary> = BTreeMap::new();
    let mut sum = |ecosystem, change: &dyn Fn(&mut EcosystemSummary)| {
        change(sums.entry(ecosystem).or_insert(EcosystemSummary {
            ecosystem,
            manifests: 0,
            locks: 0,
            declared: 0,
            locked: 0,
        }));
    };
    for manifest in &found.manifests {
        sum(manifest.ecosystem, &|sum| {
            sum.manifests += 1;
            sum.declared += manifest.declared.len() as u64;
        });
    }
    for lock in &found.locks {
        sum(lock.ecosystem, &|sum| {
            sum.locks += 1;
            sum.locked += lock.packages.len() as u64;
        });
    }
    sums.into_values().collect()
}

fn lock_state(lock: &Lock) -> LockState {
    LockState {
        path: lock.path.clone(),
        ecosystem: lock.ecosystem,
        readable: lock.readable,
        packages: lock.packages.len() as u64,
    }
}

fn duplicates(lock: &Lock) -> Vec<Duplicate> {
    // `go.sum` also holds what was only looked at.
    if lock.ecosystem == Ecosystem::Go {
        return Vec::new();
    }
    let several = compare::versions(lock)
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1);
    several
        .map(|(name, versions)| Duplicate {
            lock: lock.path.clone(),
            name,
            versions: versions.into_iter().map(str::to_owned).take(20).collect(),
        })
        .collect()
}

fn disagreements(found: &Manifests) -> Vec<Disagreement> {
    let mut wanted: BTreeMap<(Ecosystem, String), BTreeSet<&str>> = BTreeMap::new();
    for manifest in &found.manifests {
        // What a peer may be is wide by nature.
        let own = manifest.declared.iter().filter(|one| one.scope != Scope::Peer);
        for declared in own {
            if let Some(requirement) = &declared.requirement {
                let key = compare::key(manifest.ecosystem, &declared.name);
                wanted
                    .entry((manifest.ecosystem, key))
                    .or_default()
                    .insert(requirement);
            }
        }
    }
    let several = wanted
        .into_iter()
        .filter(|(_, requirements)| requirements.len() > 1);
    several
        .map(|((ecosystem, name), requirements)| Disagreement {
            ecosystem,
            name,
            requirements: requirements.into_iter().map(str::to_owned).take(20).collect(),
        })
        .collect()
}

fn deprecated(lock: &Lock) -> Vec<DeprecatedPackage> {
    let marked = lock.packages.iter().filter_map(|package| {
        Some(DeprecatedPackage {
            lock: lock.path.clone(),
            name: package.name.clone(),
            version: package.version.clone(),
            reason: package.deprecated.clone()?,
        })
    });
    marked.collect()
}

fn unknown(found: &Manifests) -> Vec<String> {
    if found.manifests.is_empty() && found.locks.is_empty() {
        return Vec::new();
    }
    [
        "whether newer versions exist: that takes the registries",
        "whether a locked version was yanked since: that takes the registries; what a lock itself says is in `deprecated`",
        "whether a version has known vulnerabilities: that takes an advisory database",
    ]
    .map(text::excerpt)
    .to_vec()
}
