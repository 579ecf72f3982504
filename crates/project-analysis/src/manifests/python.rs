//! Python: `pyproject.toml` (PEP 621, dependency groups, poetry), `requirements*.txt`, `Pipfile`, and the locks of poetry,
//! uv, pdm and pipenv.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::cargo::{string, strings, toml_packages};
use super::{Ecosystem, Lock, Manifest, Scope, Source, Start};
use crate::project::File;
use crate::structure::entry_points::EntryKind;
use crate::text;

/// A requirement of PEP 508: name, extras, the rest up to a marker.
static REQUIREMENT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^;#]*)").ok());

pub(super) fn pyproject(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Python, file);
    let Ok(table) = content.parse::<Table>() else {
        manifest.readable = false;
        return manifest;
    };
    if let Some(project) = table.get("project").and_then(Value::as_table) {
        pep621(&mut manifest, project);
    }
    let groups = table.get("dependency-groups").and_then(Value::as_table);
    for group in groups.into_iter().flat_map(Table::values) {
        for requirement in strings(Some(group)) {
            declare(&mut manifest, &requirement, Scope::Development);
        }
    }
    let tool = table.get("tool").and_then(Value::as_table);
    if let Some(poetry) = tool.and_then(|tool| tool.get("poetry")).and_then(Value::as_table) {
        self::poetry(&mut manifest, poetry);
    }
    let members = tool
        .and_then(|tool| tool.get("uv"))
        .and_then(|uv| uv.get("workspace"))
        .and_then(|workspace| workspace.get("members"));
    manifest.is_workspace = members.is_some();
    manifest.members = strings(members);
    manifest
}

fn pep621(manifest: &mut Manifest, project: &Table) {
    manifest.name = string(project, "name");
    manifest.version = string(project, "version");
    manifest.license = string(project, "license").or_else(|| {
        let license = project.get("license").and_then(Value::as_table)?;
        string(license, "text")
    });
    for requirement in strings(project.get("dependencies")) {
        declare(manifest, &requirement, Scope::Runtime);
    }
    let extras = project.get("optional-dependencies").and_then(Value::as_table);
    for extra in extras.into_iter().flat_map(Table::values) {
        for requirement in strings(Some(extra)) {
            declare(manifest, &requirement, Scope::Optional);
        }
    }
    scripts(manifest, project);
}

fn scripts(manifest: &mut Manifest, table: &Table) {
    let scripts = table.get("scripts").and_then(Value::as_table);
    for (name, target) in scripts.into_iter().flatten().take(super::MAX_DECLARED) {
        manifest.starts.push(Start {
            kind: EntryKind::Program,
            name: Some(text::excerpt(name)),
            target: target.as_str().map(text::excerpt),
        });
    }
}

fn poetry(manifest: &mut Manifest, poetry: &Table) {
    manifest.name = manifest.name.take().or_else(|| string(poetry, "name"));
    manifest.version = manifest.version.take().or_else(|| string(poetry, "version"));
    manifest.license = manifest.license.take().or_else(|| string(poetry, "license"));
    poetry_section(manifest, poetry.get("dependencies"), Scope::Runtime);
    poetry_section(manifest, poetry.get("dev-dependencies"), Scope::Development);
    let groups = poetry.get("group").and_then(Value::as_table);
    for group in groups.into_iter().flat_map(Table::values) {
        poetry_section(manifest, group.get("dependencies"), Scope::Development);
    }
    scripts(manifest, poetry);
}

fn poetry_section(manifest: &mut Manifest, section: Option<&Value>, scope: Scope) {
    for (name, value) in section.and_then(Value::as_table).into_iter().flatten() {
        if name.eq_ignore_ascii_case("python") {
            continue;
        }
        let get = |key: &str| value.get(key).and_then(Value::as_str);
        let source = if let Some(path) = get("path") {
            Source::Path(path.to_owned())
        } else if get("git").is_some() {
            Source::Git {
                fixed: get("rev").or(get("tag")).is_some(),
            }
        } else if get("url").is_some() {
            Source::Url
        } else {
            Source::Registry
        };
        manifest.declare(name, value.as_str().or_else(|| get("version")), scope, source);
    }
}

pub(super) fn requirements(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Python, file);
    manifest.is_pin_list = file.name().ends_with(".txt");
    let scope = match file.name() {
        name if name.contains("dev") || name.contains("test") => Scope::Development,
        _ => Scope::Runtime,
    };
    for line in content.lines() {
        // Options, includes and comments.
        let line = line.trim().trim_end_matches('\\');
        if !line.is_empty() && !line.starts_with(['-', '#']) {
            declare(&mut manifest, line, scope);
        }
    }
    manifest
}

fn declare(manifest: &mut Manifest, requirement: &str, scope: Scope) {
    let Some(found) = REQUIREMENT
        .as_ref()
        .and_then(|pattern| pattern.captures(requirement))
    else {
        return;
    };
    let (name, rest) = (&found[1], found[2].trim());
    // Hashes of pinned requirements follow on the same line.
    let rest = rest.split(" --").next().unwrap_or(rest).trim();
    let rest = rest.trim_start_matches('(').trim_end_matches(')');
    let source = match rest.strip_prefix('@').map(str::trim) {
        Some(url) if url.starts_with("git+") => Source::Git {
            fixed: url
                .rsplit_once('@')
                .is_some_and(|(_, commit)| commit.len() >= 7 && !commit.contains('/')),
        },
        Some(url) if url.starts_with("file:") => Source::Path(url.to_owned()),
        Some(_) => Source::Url,
        None => Source::Registry,
    };
    manifest.declare(name, Some(rest).filter(|rest| !rest.is_empty()), scope, source);
}

pub(super) fn pipfile(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Python, file);
    match content.parse::<Table>() {
        Ok(table) => {
            poetry_section(&mut manifest, table.get("packages"), Scope::Runtime);
            poetry_section(&mut manifest, table.get("dev-packages"), Scope::Development);
        }
        Err(_) => manifest.readable = false,
    }
    manifest
}

pub(super) fn lock(file: &File, content: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Python, file);
    match content.parse::<Table>() {
        Ok(table) => toml_packages(&mut lock, &table),
        Err(_) => lock.readable = false,
    }
    lock
}

pub(super) fn pipfile_lock(file: &File, content: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Python, file);
    let Ok(root) = serde_json::from_str::<Json>(content) else {
        lock.readable = false;
        return lock;
    };
    for section in ["default", "develop"] {
        for (name, package) in root.get(section).and_then(Json::as_object).into_iter().flatten() {
            let version = package.get("version").and_then(Json::as_str).unwrap_or_default();
            lock.lock(name, version.trim_start_matches("=="), None);
        }
    }
    lock
}
