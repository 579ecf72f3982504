//! Go modules: `go.mod` and `go.sum`.

use super::{Ecosystem, Lock, Manifest, Scope, Source};
use crate::project::File;
use crate::text;

pub(super) fn manifest(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Go, file);
    let mut block: Option<&str> = None;
    for line in content.lines() {
        let (code, comment) = line.split_once("//").unwrap_or((line, ""));
        let words: Vec<&str> = code.split_whitespace().take(8).collect();
        match (block, words.as_slice()) {
            (_, []) => {}
            (_, [")"]) => block = None,
            (None, [verb, "("]) => block = Some(verb),
            (None, ["module", name]) => manifest.name = Some(text::excerpt(name.trim_matches('"'))),
            (None, [verb, rest @ ..]) => directive(&mut manifest, verb, rest, comment),
            (Some(verb), rest) => directive(&mut manifest, verb, rest, comment),
        }
    }
    manifest
}

fn directive(manifest: &mut Manifest, verb: &str, rest: &[&str], comment: &str) {
    match (verb, rest) {
        ("require", [name, version]) => {
            let scope = if comment.contains("indirect") {
                Scope::Indirect
            } else {
                Scope::Runtime
            };
            manifest.declare(name, Some(version), scope, Source::Registry);
        }
        ("replace", [name, .., "=>", target]) if target.starts_with('.') => {
            for declared in &mut manifest.declared {
                if declared.name == **name {
                    declared.source = Source::Path((*target).to_owned());
                }
            }
        }
        _ => {}
    }
}

pub(super) fn lock(file: &File, content: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Go, file);
    for line in content.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            continue;
        };
        let version = version.strip_suffix("/go.mod").unwrap_or(version);
        let known = lock
            .packages
            .last()
            .is_some_and(|last| last.name == name && last.version == version);
        if !known {
            lock.lock(name, version, None);
        }
    }
    lock
}
