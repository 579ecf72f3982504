//! Composer: `composer.json` and `composer.lock`.

use serde_json::Value;

use super::{Ecosystem, Lock, Manifest, Scope, Source};
use crate::project::File;
use crate::text;

pub(super) fn manifest(file: &File, content: &str) -> Manifest {
    let mut manifest = Manifest::new(Ecosystem::Php, file);
    let Ok(Value::Object(root)) = serde_json::from_str(content) else {
        manifest.readable = false;
        return manifest;
    };
    let string = |key: &str| root.get(key).and_then(Value::as_str).map(text::excerpt);
    manifest.name = string("name");
    manifest.version = string("version");
    manifest.license = string("license");
    for (section, scope) in [("require", Scope::Runtime), ("require-dev", Scope::Development)] {
        for (name, requirement) in root.get(section).and_then(Value::as_object).into_iter().flatten() {
            // The platform itself is no package: every package has a vendor.
            if name.contains('/') {
                manifest.declare(name, requirement.as_str(), scope, Source::Registry);
            }
        }
    }
    manifest
}

pub(super) fn lock(file: &File, content: &str) -> Lock {
    let mut lock = Lock::new(Ecosystem::Php, file);
    let Ok(root) = serde_json::from_str::<Value>(content) else {
        lock.readable = false;
        return lock;
    };
    for section in ["packages", "packages-dev"] {
        for package in root.get(section).and_then(Value::as_array).into_iter().flatten() {
            let get = |key: &str| package.get(key).and_then(Value::as_str);
            let abandoned = match package.get("abandoned") {
                Some(Value::String(instead)) => Some(format!("abandoned; use {instead}")),
                Some(Value::Bool(true)) => Some("abandoned".to_owned()),
                _ => None,
            };
            lock.lock(
                get("name").unwrap_or_default(),
                get("version").unwrap_or_default(),
                abandoned.as_deref(),
            );
        }
    }
    lock
}
