//! Which tests of the workspace need an engine: what their targets say of themselves.

use std::collections::BTreeSet;

use serde_json::Value;
use xtask::error::{Context, Error, Result};
use xtask::process::Tool;
use xtask::workspace;

/// The feature without which a test that needs an engine is not built.
const ENGINE_FEATURE: &str = "engine-tests";

/// The workspace's integration tests by name. Cargo selects by name alone, so a name belongs to one kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// Those that need nothing.
    pub(super) fast: BTreeSet<String>,
    /// Those that need an engine.
    pub(super) engine: BTreeSet<String>,
}

impl Targets {
    pub(super) fn read() -> Result<Self> {
        let output = Tool::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
            .dir(workspace::root())
            .output()?;
        let metadata = serde_json::from_str(&output.stdout)
            .context(|| "cannot read what `cargo metadata` said".to_owned())?;
        Self::of(&metadata)
    }

    fn of(metadata: &Value) -> Result<Self> {
        let mut targets = Self::default();
        for target in all_targets(metadata).filter(|target| is_test(target)) {
            let name = target["name"].as_str().unwrap_or_default().to_owned();
            let needs_engine = list(&target["required-features"]).any(|feature| feature == ENGINE_FEATURE);
            let kind = if needs_engine {
                &mut targets.engine
            } else {
                &mut targets.fast
            };
            kind.insert(name);
        }
        match targets.fast.intersection(&targets.engine).next() {
            None => Ok(targets),
            Some(name) => Err(Error::new(format!(
                "two test targets are called `{name}`, and one needs an engine"
            ))
            .hint("give one of them another name: cargo selects targets by name")),
        }
    }
}

fn all_targets(metadata: &Value) -> impl Iterator<Item = &Value> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.flat_map(|package| package["targets"].as_array().into_iter().flatten())
}

fn is_test(target: &Value) -> bool {
    list(&target["kind"]).any(|kind| kind == "test")
}

fn list(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, features: &[&str]) -> Value {
        serde_json::json!({ "kind": ["test"], "name": name, "required-features": features })
    }

    fn workspace_of(targets: Vec<Value>) -> Value {
        serde_json::json!({ "packages": [{ "targets": targets }] })
    }

    #[test]
    fn a_target_says_itself_whether_it_needs_an_engine() {
        let lib = serde_json::json!({ "kind": ["lib"], "name": "x" });
        let metadata = workspace_of(vec![lib, target("quick", &[]), target("slow", &["engine-tests"])]);
        let targets = Targets::of(&metadata).expect("good");
        assert_eq!(targets.fast, BTreeSet::from(["quick".to_owned()]));
        assert_eq!(targets.engine, BTreeSet::from(["slow".to_owned()]));
    }

    #[test]
    fn one_name_for_both_kinds_is_refused() {
        let metadata = workspace_of(vec![target("same", &[]), target("same", &["engine-tests"])]);
        assert!(Targets::of(&metadata).is_err());
    }
}
