//! `npm`: the registry that npm on this machine uses, and those of scopes.

use std::collections::BTreeMap;

use session_core::error::Result;

use super::tool::Tools;
use super::{Address, Found};
use crate::settings::env;

pub(super) async fn find(tools: &Tools) -> Result<Found> {
    if let Some(registry) = tools.variable(env::NPM_CONFIG_REGISTRY) {
        return found([("registry".to_owned(), registry)]);
    }
    let listed = tools.ask(&["npm", "config", "list", "--json"]).await;
    found(listed.as_deref().map(registries).unwrap_or_default())
}

/// `registry`, and `@scope:registry` of each scope, out of `npm config list --json`.
fn registries(listed: &str) -> Vec<(String, String)> {
    let Ok(settings) = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(listed) else {
        return Vec::new();
    };
    let is_registry =
        |name: &str| name == "registry" || (name.starts_with('@') && name.ends_with(":registry"));
    settings
        .into_iter()
        .filter(|(name, _)| is_registry(name))
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}

fn found(registries: impl IntoIterator<Item = (String, String)>) -> Result<Found> {
    let mut found = Found::default();
    for (name, text) in registries {
        let address = Address::parse(&text)?;
        // Those of scopes stand in the project's own files, which are inside already.
        if name == "registry" {
            found
                .environment
                .insert("npm_config_registry".to_owned(), address.to_string());
        }
        found.addresses.push(address);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_of_scopes_count() {
        let listed =
            r#"{"registry":"https://a.example/","@team:registry":"https://b.example/npm/","cache":"/x"}"#;
        let found = found(registries(listed)).unwrap();
        assert_eq!(found.addresses.len(), 2);
        assert_eq!(found.environment["npm_config_registry"], "https://a.example/");
        assert!(registries("not json").is_empty());
    }
}
