//! Packages and workspaces, and how they lean on each other.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::manifests::{Ecosystem, Manifest, Manifests, Source, python_name};
use crate::report::Samples;
use crate::text;

/// A package or workspace of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Module {
    /// Its family of package managers.
    pub ecosystem: Ecosystem,
    /// Its name, when its manifest gives one.
    pub name: Option<String>,
    /// Its version, when its manifest gives one.
    pub version: Option<String>,
    /// Its directory; `""` at the root.
    pub path: String,
    /// The manifest.
    pub manifest: String,
    /// Whether it holds others together.
    pub workspace: bool,
    /// The workspace's members as its manifest writes them, patterns included.
    pub members: Vec<String>,
    /// The names of modules of this project on which it depends.
    pub depends_on: Vec<String>,
}

pub(super) fn of(manifests: &Manifests) -> Samples<Module> {
    let named = names(manifests);
    manifests
        .manifests
        .iter()
        .filter(|manifest| manifest.readable && (manifest.name.is_some() || manifest.is_workspace))
        .map(|manifest| module(manifest, &named))
        .collect()
}

type Names<'a> = BTreeMap<(Ecosystem, String), &'a str>;

fn names(manifests: &Manifests) -> Names<'_> {
    let mut names = BTreeMap::new();
    for manifest in &manifests.manifests {
        if let Some(name) = &manifest.name {
            names.insert((manifest.ecosystem, key(manifest.ecosystem, name)), name.as_str());
        }
    }
    names
}

/// How names are compared.
fn key(ecosystem: Ecosystem, name: &str) -> String {
    match ecosystem {
        Ecosystem::Python => python_name(name),
        // A dependency is named with its group, a module often inherits its own.
        Ecosystem::Maven => name.rsplit(':').next().unwrap_or(name).to_owned(),
        _ => name.to_owned(),
    }
}

fn module(manifest: &Manifest, named: &Names<'_>) -> Module {
    let own = manifest.name.as_deref().unwrap_or_default();
    let mut depends_on: Vec<String> = manifest
        .declared
        .iter()
        .filter(|declared| declared.scope != crate::manifests::Scope::Workspace)
        .filter_map(|declared| {
            let known = named.get(&(manifest.ecosystem, key(manifest.ecosystem, &declared.name)));
            match (&declared.source, known) {
                (_, Some(name)) => Some((*name).to_owned()),
                // A directory beside it that has no manifest of ours.
                (Source::Path(path), None) => text::resolve(manifest.directory(), path),
                _ => None,
            }
        })
        .filter(|name| name != own)
        .collect();
    depends_on.sort_unstable();
    depends_on.dedup();
    depends_on.truncate(crate::report::MAX_SAMPLES);
    let mut members = manifest.members.clone();
    members.truncate(crate::report::MAX_SAMPLES);
    Module {
        ecosystem: manifest.ecosystem,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        path: manifest.directory().to_owned(),
        manifest: manifest.path.clone(),
        workspace: manifest.is_workspace,
        members,
        depends_on,
    }
}
