//! Where programs and tasks begin.

use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::manifests::{Ecosystem, Manifest, Manifests};
use crate::project::{File, Project};
use crate::report::Samples;
use crate::text;

/// The most targets of one file that are told.
const MAX_TARGETS: usize = 50;

/// Something that can be started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct EntryPoint {
    /// The file that says so.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its name, when it has one.
    pub name: Option<String>,
    /// What it starts, when the file says so.
    pub target: Option<String>,
}

/// Kinds of entry points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A program.
    Program,
    /// What others import.
    Library,
    /// A named script of a manifest.
    Script,
    /// A target of a build file.
    Target,
    /// What a container image starts.
    Container,
    /// A service of a compose file or a process of a Procfile.
    Service,
    /// A page.
    Page,
}

static MAKE_TARGET: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^([A-Za-z0-9][A-Za-z0-9_./-]*)\s*:(?:[^=]|$)").ok());
static JUST_RECIPE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^@?([A-Za-z_][A-Za-z0-9_-]*)[^:=\n]*:(?:[^=]|$)").ok());
static DOCKER_START: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?mi)^\s*(ENTRYPOINT|CMD)\s+(.+)$").ok());
static GO_MAIN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?m)^package\s+main\b").ok());
static PROCESS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?m)^([A-Za-z0-9_-]+):\s*(.+)$").ok());

pub(super) fn of(project: &Project, manifests: &Manifests) -> Samples<EntryPoint> {
    let mut found: Vec<EntryPoint> = Vec::new();
    for manifest in &manifests.manifests {
        of_manifest(project, manifest, &mut found);
    }
    for file in &project.files {
        of_file(project, file, &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().collect()
}

fn of_manifest(project: &Project, manifest: &Manifest, found: &mut Vec<EntryPoint>) {
    for start in &manifest.starts {
        found.push(EntryPoint {
            path: manifest.path.clone(),
            kind: start.kind,
            name: start.name.clone(),
            target: start.target.clone(),
        });
    }
    if manifest.ecosystem != Ecosystem::Cargo || manifest.name.is_none() {
        return;
    }
    for (kind, target) in [
        (EntryKind::Program, "src/main.rs"),
        (EntryKind::Library, "src/lib.rs"),
    ] {
        let path = text::join(manifest.directory(), target);
        if project.file(&path).is_some() {
            found.push(EntryPoint {
                path,
                kind,
                name: manifest.name.clone(),
                target: None,
            });
        }
    }
}

fn of_file(project: &Project, file: &File, found: &mut Vec<EntryPoint>) {
    let name = file.name();
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "makefile" | "gnumakefile" => named(project, file, &MAKE_TARGET, EntryKind::Target, found),
        "justfile" => named(project, file, &JUST_RECIPE, EntryKind::Target, found),
        "procfile" => named(project, file, &PROCESS, EntryKind::Service, found),
        "index.html" => push(file, EntryKind::Page, found),
        "compose.yaml" | "compose.yml" | "docker-compose.yaml" | "docker-compose.yml" => {
            services(project, file, found);
        }
        "__main__.py" | "manage.py" | "main.py" | "app.py" | "wsgi.py" | "asgi.py" | "main.c" | "main.cc"
        | "main.cpp" | "main.swift" | "main.dart" | "main.kt" | "main.java" | "program.cs" | "main.ts"
        | "main.js" | "server.js" | "server.ts" | "main.hs" | "main.zig" => {
            push(file, EntryKind::Program, found);
        }
        _ if lower.starts_with("dockerfile")
            || lower.ends_with(".dockerfile")
            || lower == "containerfile" =>
        {
            container(project, file, found);
        }
        _ if lower.ends_with(".go") && is_go_main(project, file) => push(file, EntryKind::Program, found),
        _ if lower.ends_with(".rs") && file.directory().ends_with("src/bin") => {
            push(file, EntryKind::Program, found);
        }
        _ => {}
    }
}

fn push(file: &File, kind: EntryKind, found: &mut Vec<EntryPoint>) {
    found.push(EntryPoint {
        path: file.path.clone(),
        kind,
        name: None,
        target: None,
    });
}

fn named(
    project: &Project,
    file: &File,
    pattern: &LazyLock<Option<Regex>>,
    kind: EntryKind,
    found: &mut Vec<EntryPoint>,
) {
    let (Some(content), Some(pattern)) = (
        project.read_text(file, project.limits.text_bytes),
        pattern.as_ref(),
    ) else {
        return;
    };
    for captures in pattern.captures_iter(&content.0).take(MAX_TARGETS) {
        found.push(EntryPoint {
            path: file.path.clone(),
            kind,
            name: Some(text::excerpt(&captures[1])),
            target: captures.get(2).map(|target| text::excerpt(target.as_str())),
        });
    }
}

fn container(project: &Project, file: &File, found: &mut Vec<EntryPoint>) {
    let (Some(content), Some(pattern)) = (
        project.read_text(file, project.limits.text_bytes),
        DOCKER_START.as_ref(),
    ) else {
        return;
    };
    for captures in pattern.captures_iter(&content.0).take(MAX_TARGETS) {
        found.push(EntryPoint {
            path: file.path.clone(),
            kind: EntryKind::Container,
            name: Some(captures[1].to_ascii_uppercase()),
            target: Some(text::excerpt(&captures[2])),
        });
    }
}

/// Go tests and the files of libraries are no programs.
fn is_go_main(project: &Project, file: &File) -> bool {
    let is_candidate = file.name() == "main.go" || file.directory().split('/').any(|step| step == "cmd");
    if !is_candidate || file.name().ends_with("_test.go") {
        return false;
    }
    let content = project.read_text(file, project.limits.text_bytes);
    content.is_some_and(|content| {
        GO_MAIN
            .as_ref()
            .is_some_and(|pattern| pattern.is_match(&content.0))
    })
}

#[derive(serde::Deserialize)]
struct Compose {
    #[serde(default)]
    services: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

fn services(project: &Project, file: &File, found: &mut Vec<EntryPoint>) {
    let Some(content) = project.read_text(file, project.limits.text_bytes) else {
        return;
    };
    let Ok(compose) = serde_saphyr::from_str::<Compose>(&content.0) else {
        return;
    };
    for name in compose.services.keys().take(MAX_TARGETS) {
        found.push(EntryPoint {
            path: file.path.clone(),
            kind: EntryKind::Service,
            name: Some(text::excerpt(name)),
            target: None,
        });
    }
}
