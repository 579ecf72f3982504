//! What package managers wrote down: manifests say what is wanted, locks what was chosen.
//!
//! Every file is parsed by a library with bounds of its own, beneath the bounds of the walk; what cannot be parsed is said
//! and is never an error of the analysis.

mod cargo;
mod go;
mod jvm;
mod npm;
mod npm_locks;
mod php;
mod python;
mod ruby;

use schemars::JsonSchema;
use serde::Serialize;

use crate::project::{File, Project};
use crate::text;

/// The most dependencies of one manifest, and packages of one lock, that are kept.
const MAX_DECLARED: usize = 5_000;
const MAX_LOCKED: usize = 50_000;

/// A family of package managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ecosystem {
    /// Rust.
    Cargo,
    /// npm, yarn and pnpm.
    Npm,
    /// pip, poetry, uv, pdm and pipenv.
    Python,
    /// Go modules.
    Go,
    /// Maven.
    Maven,
    /// Gradle.
    Gradle,
    /// Bundler.
    Ruby,
    /// Composer.
    Php,
}

/// When a dependency is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To run.
    Runtime,
    /// To develop and test.
    Development,
    /// To build.
    Build,
    /// Only when asked for.
    Optional,
    /// Expected of whoever uses the package.
    Peer,
    /// Declared for the packages of a workspace to inherit.
    Workspace,
    /// Indirect, and written down all the same.
    Indirect,
}

/// Where a dependency comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Registry,
    /// A directory of the project or beside it, as the manifest writes it.
    Path(String),
    Git {
        fixed: bool,
    },
    Url,
    /// The workspace says.
    Inherited,
}

/// A dependency that a manifest wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) requirement: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) source: Source,
}

/// What a manifest says can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) kind: crate::structure::entry_points::EntryKind,
    pub(crate) name: Option<String>,
    pub(crate) target: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) ecosystem: Ecosystem,
    pub(crate) path: String,
    /// Whether it could be parsed.
    pub(crate) readable: bool,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) is_workspace: bool,
    /// As the manifest writes them.
    pub(crate) members: Vec<String>,
    pub(crate) declared: Vec<Declared>,
    pub(crate) starts: Vec<Start>,
    /// A list of pins such as `requirements.txt`, which is manifest and lock in one.
    pub(crate) is_pin_list: bool,
}

impl Manifest {
    fn new(ecosystem: Ecosystem, file: &File) -> Self {
        Self {
            ecosystem,
            path: file.path.clone(),
            readable: true,
            name: None,
            version: None,
            license: None,
            is_workspace: false,
            members: Vec::new(),
            declared: Vec::new(),
            starts: Vec::new(),
            is_pin_list: false,
        }
    }

    pub(crate) fn directory(&self) -> &str {
        text::parent(&self.path)
    }

    fn declare(&mut self, name: &str, requirement: Option<&str>, scope: Scope, source: Source) {
        if self.declared.len() < MAX_DECLARED && !name.is_empty() {
            self.declared.push(Declared {
                name: text::excerpt(name),
                requirement: requirement.map(text::excerpt),
                scope,
                source,
            });
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Locked {
    pub(crate) name: String,
    pub(crate) version: String,
    /// What the registry said against it when the lock was written.
    pub(crate) deprecated: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lock {
    pub(crate) ecosystem: Ecosystem,
    pub(crate) path: String,
    pub(crate) readable: bool,
    pub(crate) packages: Vec<Locked>,
    /// What the lock says the manifests want: by the manifest's directory, seen from the lock, name and requirement.
    pub(crate) wanted: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
    /// Keys such as `name@requirement`, where the lock is kept by them.
    pub(crate) keys: std::collections::BTreeSet<String>,
}

impl Lock {
    fn new(ecosystem: Ecosystem, file: &File) -> Self {
        Self {
            ecosystem,
            path: file.path.clone(),
            readable: true,
            packages: Vec::new(),
            wanted: Default::default(),
            keys: Default::default(),
        }
    }

    pub(crate) fn directory(&self) -> &str {
        text::parent(&self.path)
    }

    fn lock(&mut self, name: &str, version: &str, deprecated: Option<&str>) {
        if self.packages.len() < MAX_LOCKED && !name.is_empty() {
            self.packages.push(Locked {
                name: text::excerpt(name),
                version: text::excerpt(version),
                deprecated: deprecated.map(text::excerpt),
            });
        }
    }
}

/// Every manifest and lock of a project, by path.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    pub(crate) manifests: Vec<Manifest>,
    pub(crate) locks: Vec<Lock>,
}

/// Finds and parses them.
pub(crate) fn all(project: &Project) -> Manifests {
    let mut found = Manifests::default();
    for file in &project.files {
        if let Some(parse) = manifest_parser(file.name()) {
            found.manifests.extend(parsed(project, file, parse));
        } else if let Some(parse) = lock_parser(file.name())
            && let Some(text) = project.manifest(file)
        {
            found.locks.push(parse(file, &text.0));
        }
    }
    found
}

fn parsed(project: &Project, file: &File, parse: fn(&File, &str) -> Manifest) -> Option<Manifest> {
    Some(parse(file, &project.manifest(file)?.0))
}

fn manifest_parser(name: &str) -> Option<fn(&File, &str) -> Manifest> {
    Some(match name {
        "Cargo.toml" => cargo::manifest,
        "package.json" => npm::manifest,
        "pyproject.toml" => python::pyproject,
        "Pipfile" => python::pipfile,
        "go.mod" => go::manifest,
        "pom.xml" => jvm::pom,
        "build.gradle" | "build.gradle.kts" => jvm::gradle,
        "settings.gradle" | "settings.gradle.kts" => jvm::gradle_settings,
        "Gemfile" => ruby::manifest,
        "composer.json" => php::manifest,
        _ if name.starts_with("requirements") && (name.ends_with(".txt") || name.ends_with(".in")) => {
            python::requirements
        }
        _ => return None,
    })
}

fn lock_parser(name: &str) -> Option<fn(&File, &str) -> Lock> {
    Some(match name {
        "Cargo.lock" => cargo::lock,
        "package-lock.json" | "npm-shrinkwrap.json" => npm_locks::npm,
        "yarn.lock" => npm_locks::yarn,
        "pnpm-lock.yaml" => npm_locks::pnpm,
        "poetry.lock" | "uv.lock" | "pdm.lock" => python::lock,
        "Pipfile.lock" => python::pipfile_lock,
        "go.sum" => go::lock,
        "gradle.lockfile" => jvm::gradle_lock,
        "Gemfile.lock" => ruby::lock,
        "composer.lock" => php::lock,
        _ => return None,
    })
}

/// A package's name as Python's index compares it.
pub(crate) fn python_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            c => normal.extend(c.to_lowercase()),
        }
    }
    normal
}
