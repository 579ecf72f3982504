//! Cargo: `Cargo.toml` and `Cargo.lock`.

use toml::{Table, Value};

use super::{Ecosystem, Lock, Manifest, Scope, Source, Start};
use crate::project::File;
use crate::structure::entry_points::EntryKind;

const SECTIONS: [(&str, Scope); 3] = [
    ("dependencies", Scope::Runtime),
    ("dev-dependencies", Scope::Development),
    ("build-dependencies", Scope::Build),
];

pub(super) fn manifest(file: &File, text: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Cargo, file);
    let Ok(table) = text.parse::<Table>() else {
        manifest.readable = false;
        return manifest;
    };
    if let Some(package) = table.get("package").and_then(Value::as_table) {
        manifest.name = string(package, "name");
        manifest.version = string(package, "version");
        manifest.license = string(package, "license");
    }
    sections(&mut manifest, &table);
    let targets = table.get("target").and_then(Value::as_table);
    for target in targets.into_iter().flat_map(Table::values) {
        if let Some(target) = target.as_table() {
            sections(&mut manifest, target);
        }
    }
    if let Some(workspace) = table.get("workspace").and_then(Value::as_table) {
        manifest.is_workspace = true;
        manifest.members = strings(workspace.get("members"));
        declare(&mut manifest, workspace.get("dependencies"), Scope::Workspace);
    }
    let bins = table.get("bin").and_then(Value::as_array);
    for bin in bins.into_iter().flatten().filter_map(Value::as_table) {
        manifest.starts.push(Start {
            kind: EntryKind::Program,
            name: string(bin, "name"),
            target: string(bin, "path"),
        });
    }
    manifest
}

fn sections(manifest: &mut Manifest, table: &Table) {
    for (section, scope) in SECTIONS {
        declare(manifest, table.get(section), scope);
    }
}

fn declare(manifest: &mut Manifest, section: Option<&Value>, scope: Scope) {
    for (key, value) in section.and_then(Value::as_table).into_iter().flatten() {
        let details = value.as_table();
        let get = |name: &str| details.and_then(|details| details.get(name));
        let name = get("package").and_then(Value::as_str).unwrap_or(key);
        let requirement = value.as_str().or_else(|| get("version").and_then(Value::as_str));
        let source = if let Some(path) = get("path").and_then(Value::as_str) {
            Source::Path(path.to_owned())
        } else if get("git").is_some() {
            Source::Git {
                fixed: get("rev").or(get("tag")).is_some(),
            }
        } else if get("workspace").and_then(Value::as_bool) == Some(true) {
            Source::Inherited
        } else {
            Source::Registry
        };
        manifest.declare(name, requirement, scope, source);
    }
}

pub(super) fn lock(file: &File, text: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Cargo, file);
    match text.parse::<Table>() {
        Ok(table) => toml_packages(&mut lock, &table),
        Err(_) => lock.readable = false,
    }
    lock
}

/// `[[package]]` with `name` and `version`, as Cargo, poetry, uv and pdm write them.
pub(super) fn toml_packages(lock: &mut Lock, table: &Table) {
    let packages = table.get("package").and_then(Value::as_array);
    for package in packages.into_iter().flatten().filter_map(Value::as_table) {
        let get = |name: &str| package.get(name).and_then(Value::as_str).unwrap_or_default();
        lock.lock(get("name"), get("version"), None);
    }
}

pub(super) fn string(table: &Table, key: &str) -> Option<String> {
    table.get(key).and_then(Value::as_str).map(crate::text::excerpt)
}

pub(super) fn strings(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_array).into_iter().flatten();
    values
        .filter_map(Value::as_str)
        .take(super::MAX_DECLARED)
        .map(crate::text::excerpt)
        .collect()
}
