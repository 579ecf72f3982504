//! Bundler: `Gemfile` and `Gemfile.lock`.

use std::sync::LazyLock;

use regex::Regex;

use super::{Ecosystem, Lock, Manifest, Scope, Source};
use crate::project::File;
use crate::text;

static GEM: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"^\s*gem[\s(]+["']([^"']+)["'](?:\s*,\s*["']([^"']+)["'])?(.*)"#).ok());

pub(super) fn manifest(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Ruby, file);
    let mut groups: Vec<bool> = Vec::new();
    for line in content.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("group ") && trimmed.ends_with(" do") {
            groups.push(trimmed.contains(":development") || trimmed.contains(":test"));
        } else if trimmed.ends_with(" do") {
            groups.push(false);
        } else if trimmed == "end" {
            groups.pop();
        } else if let Some(gem) = GEM.as_ref().and_then(|pattern| pattern.captures(line)) {
            let rest = &gem[3];
            let scope = if groups.contains(&true) || rest.contains(":development") || rest.contains(":test") {
                Scope::Development
            } else {
                Scope::Runtime
            };
            let requirement = gem.get(2).map(|requirement| requirement.as_str());
            manifest.declare(&gem[1], requirement, scope, source(rest));
        }
    }
    manifest
}

fn source(rest: &str) -> Source {
    let has = |key: &str| rest.contains(&format!("{key}:")) || rest.contains(&format!(":{key} =>"));
    if has("path") {
        Source::Path(String::new())
    } else if has("git") || has("github") {
        Source::Git {
            fixed: has("ref") || has("tag"),
        }
    } else {
        Source::Registry
    }
}

pub(super) fn lock(file: &File, content: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Ruby, file);
    let mut section = "";
    for line in content.lines() {
        let indent = line.len() - line.trim_start().len();
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().trim_end_matches('!');
        match (indent, section) {
            (0, _) => section = line.trim(),
            (2, "DEPENDENCIES") => {
                lock.keys.insert(text::excerpt(name));
            }
            (4, _) => {
                let version = words
                    .next()
                    .unwrap_or_default()
                    .trim_matches(|c| c == '(' || c == ')');
                lock.lock(name, version, None);
            }
            _ => {}
        }
    }
    lock
}
