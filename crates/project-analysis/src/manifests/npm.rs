//! npm, yarn and pnpm: `package.json`.

use serde_json::{Map, Value};

use super::{Ecosystem, Manifest, Scope, Source, Start};
use crate::project::File;
use crate::structure::entry_points::EntryKind;
use crate::text;

const SECTIONS: [(&str, Scope); 4] = [
    ("dependencies", Scope::Runtime),
    ("devDependencies", Scope::Development),
    ("optionalDependencies", Scope::Optional),
    ("peerDependencies", Scope::Peer),
];

pub(super) fn manifest(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Npm, file);
    let Ok(Value::Object(root)) = serde_json::from_str(content) else {
        manifest.readable = false;
        return manifest;
    };
    manifest.name = string(&root, "name");
    manifest.version = string(&root, "version");
    manifest.license = string(&root, "license");
    for (section, scope) in SECTIONS {
        for (name, requirement) in root.get(section).and_then(Value::as_object).into_iter().flatten() {
            let requirement = requirement.as_str();
            manifest.declare(name, requirement, scope, source(requirement.unwrap_or_default()));
        }
    }
    workspaces(&mut manifest, &root);
    starts(&mut manifest, &root);
    manifest
}

fn string(root: &Map<String, Value>, key: &str) -> Option<String> {
    root.get(key).and_then(Value::as_str).map(text::excerpt)
}

pub(super) fn source(requirement: &str) -> Source {
    if let Some(path) = ["file:", "link:", "portal:"]
        .iter()
        .find_map(|scheme| requirement.strip_prefix(scheme))
    {
        return Source::Path(path.to_owned());
    }
    if requirement.starts_with("workspace:") || requirement.starts_with("catalog:") {
        return Source::Inherited;
    }
    let is_git = ["git+", "git:", "git@", "github:", "gitlab:", "bitbucket:"]
        .iter()
        .any(|scheme| requirement.starts_with(scheme));
    if is_git || is_github_short(requirement) {
        let fixed = requirement.rsplit_once('#').is_some_and(|(_, commit)| {
            commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit())
                || commit.starts_with("semver:")
        });
        return Source::Git { fixed };
    }
    if requirement.starts_with("http:") || requirement.starts_with("https:") {
        return Source::Url;
    }
    Source::Registry
}

/// `owner/repository`, and not `npm:@scope/name@1`.
fn is_github_short(requirement: &str) -> bool {
    let head = requirement.split('#').next().unwrap_or_default();
    head.matches('/').count() == 1 && !head.contains(':') && !head.starts_with('@') && !head.contains(' ')
}

fn workspaces(manifest: &mut Manifest, root: &Map<String, Value>) {
    let Some(workspaces) = root.get("workspaces") else {
        return;
    };
    manifest.is_workspace = true;
    let members = workspaces.get("packages").unwrap_or(workspaces).as_array();
    manifest.members = members
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .take(super::MAX_DECLARED)
        .map(text::excerpt)
        .collect();
}

fn starts(manifest: &mut Manifest, root: &Map<String, Value>) {
    let mut add = |kind, name: Option<&str>, target: Option<&str>| {
        if manifest.starts.len() < super::MAX_DECLARED {
            manifest.starts.push(Start {
                kind,
                name: name.map(text::excerpt),
                target: target.map(text::excerpt),
            });
        }
    };
    for key in ["main", "module", "browser"] {
        if let Some(target) = root.get(key).and_then(Value::as_str) {
            add(EntryKind::Library, Some(key), Some(target));
        }
    }
    match root.get("bin") {
        Some(Value::String(target)) => add(
            EntryKind::Program,
            root.get("name").and_then(Value::as_str),
            Some(target),
        ),
        Some(Value::Object(bins)) => {
            for (name, target) in bins {
                add(EntryKind::Program, Some(name), target.as_str());
            }
        }
        _ => {}
    }
    for (name, script) in root
        .get("scripts")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        add(EntryKind::Script, Some(name), script.as_str());
    }
}
