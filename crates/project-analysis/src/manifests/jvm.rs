//! Maven and Gradle, as far as their files can be read without running them.

use std::sync::LazyLock;

use regex::Regex;
use roxmltree::{Document, Node, ParsingOptions};

use super::{Ecosystem, Lock, Manifest, Scope, Source};
use crate::project::File;
use crate::text;

/// The most nodes of a `pom.xml`.
const MAX_NODES: u32 = 200_000;

/// `implementation "group:name:version"` and its kin, in both of Gradle's languages.
static GRADLE_DEPENDENCY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?m)^\s*(api|implementation|compile|compileOnly|runtimeOnly|annotationProcessor|kapt|ksp|test[A-Z]\w*|androidTest[A-Z]\w*)\s*\(?\s*["']([^:"'\s]+:[^:"'\s]+)(?::([^"'\s@]+))?"#,
    )
    .ok()
});
static GRADLE_INCLUDE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"["'](:?[A-Za-z0-9_.:-]+)["']"#).ok());
static GRADLE_NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"rootProject\.name\s*=\s*["']([^"']+)["']"#).ok());

pub(super) fn pom(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Maven, file);
    let options = ParsingOptions {
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    let Ok(document) = Document::parse_with_options(content, options) else {
        manifest.readable = false;
        return manifest;
    };
    let project = document.root_element();
    manifest.name = child_text(project, "artifactId");
    manifest.version = child_text(project, "version");
    manifest.license = child(project, "licenses")
        .and_then(|licenses| child(licenses, "license"))
        .and_then(|license| child_text(license, "name"));
    if let Some(modules) = child(project, "modules") {
        manifest.is_workspace = true;
        manifest.members = modules
            .children()
            .filter_map(|node| node.text())
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .take(super::MAX_DECLARED)
            .map(text::excerpt)
            .collect();
    }
    if let Some(dependencies) = child(project, "dependencies") {
        for dependency in dependencies.children().filter(|node| node.is_element()) {
            declare_maven(&mut manifest, dependency);
        }
    }
    manifest
}

fn declare_maven(manifest: &mut Manifest, dependency: Node<'_, '_>) {
    let group = child_text(dependency, "groupId").unwrap_or_default();
    let Some(artifact) = child_text(dependency, "artifactId") else {
        return;
    };
    let scope = match child_text(dependency, "scope").as_deref() {
        Some("test") => Scope::Development,
        Some("provided") => Scope::Build,
        _ if child_text(dependency, "optional").as_deref() == Some("true") => Scope::Optional,
        _ => Scope::Runtime,
    };
    let version = child_text(dependency, "version");
    let source = match version {
        Some(_) => Source::Registry,
        // A parent or a bill of materials says it.
        None => Source::Inherited,
    };
    manifest.declare(&format!("{group}:{artifact}"), version.as_deref(), scope, source);
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn child_text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name)
        .and_then(|child| child.text())
        .map(text::excerpt)
}

pub(super) fn gradle(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Gradle, file);
    let found = GRADLE_DEPENDENCY
        .iter()
        .flat_map(|pattern| pattern.captures_iter(content));
    for captures in found.take(super::MAX_DECLARED) {
        let scope = match &captures[1] {
            how if how.starts_with("test") || how.starts_with("androidTest") => Scope::Development,
            "compileOnly" | "annotationProcessor" | "kapt" | "ksp" => Scope::Build,
            _ => Scope::Runtime,
        };
        let version = captures.get(3).map(|version| version.as_str());
        let source = match version {
            Some(_) => Source::Registry,
            None => Source::Inherited,
        };
        manifest.declare(&captures[2], version, scope, source);
    }
    manifest
}

pub(super) fn gradle_settings(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Gradle, file);
    manifest.is_workspace = true;
    manifest.name = GRADLE_NAME
        .as_ref()
        .and_then(|pattern| pattern.captures(content))
        .map(|found| text::excerpt(&found[1]));
    let includes = content
        .lines()
        .filter(|line| line.trim_start().starts_with("include"));
    for line in includes {
        let names = GRADLE_INCLUDE
            .iter()
            .flat_map(|pattern| pattern.captures_iter(line));
        for name in names.take(super::MAX_DECLARED) {
            manifest
                .members
                .push(text::excerpt(&name[1].trim_start_matches(':').replace(':', "/")));
        }
    }
    manifest.members.truncate(super::MAX_DECLARED);
    manifest
}

pub(super) fn gradle_lock(file: &File, content: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Gradle, file);
    for line in content.lines().filter(|line| !line.starts_with('#')) {
        let coordinates = line.split('=').next().unwrap_or(line);
        if let Some((name, version)) = coordinates.rsplit_once(':') {
            lock.lock(name, version, None);
        }
    }
    lock
}
