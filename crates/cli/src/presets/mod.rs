//! Presets: what `npm`, `pypi`, `crates`, `debian` and `git` mean on this machine.
//!
//! No host is written down here. Each preset asks the tool's own configuration on this machine, so a mirror, a proxy of a
//! company and a vendor's move work without a release of ours, and programs inside are told of the same addresses. The
//! operator's policy goes first. Tools are run with argument vectors, in `/`, so that no project's files have a say (I5,
//! I6); an address that holds a password is refused: it would have to go inside.

mod address;
mod crates;
mod debian;
mod git;
mod npm;
mod pypi;
mod tool;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use session_core::egress::{HostRule, Preset, PresetName, Presets};
use session_core::error::{Error, ErrorKind, Result};

pub use self::address::Address;
use self::tool::Tools;
use crate::operator::Egress;
use crate::settings::env::Environment;

const OPERATION: &str = "find the hosts of a preset";

/// The presets of this machine.
#[derive(Debug)]
pub struct HostPresets {
    named: BTreeMap<PresetName, Vec<HostRule>>,
    tools: Tools,
    home: Option<PathBuf>,
}

/// What a tool's configuration says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Where it goes.
    addresses: Vec<Address>,
    /// What the same tool inside has to be told to go there, too.
    environment: BTreeMap<String, String>,
}

impl HostPresets {
    /// The presets of the operator's policy, and those of the tools on this machine.
    pub fn new(policy: &Egress, home: Option<PathBuf>, environment: &dyn Environment) -> Self {
        Self {
            named: policy
                .presets
                .iter()
                .map(|(name, rules)| (name.clone(), rules.0.clone()))
                .collect(),
            tools: Tools::new(environment),
            home,
        }
    }

    async fn ask(&self, name: &PresetName) -> Result<Found> {
        let home = self.home.as_deref();
        match name.as_str() {
            "npm" => npm::find(&self.tools).await,
            "pypi" => pypi::find(&self.tools).await,
            "crates" => crates::find(&self.tools, home).await,
            "debian" => debian::find().await,
            "git" => git::find(&self.tools).await,
            _ => {
                let own: Vec<_> = self.named.keys().map(PresetName::as_str).collect();
                Err(unknown(name)
                    .with_context("of_the_policy", own.join(" "))
                    .with_hint(
                        "presets are npm, pypi, crates, debian, git and those of the operator's policy",
                    ))
            }
        }
    }
}

#[async_trait]
impl Presets for HostPresets {
    async fn resolve(&self, name: &PresetName) -> Result<Preset> {
        if let Some(rules) = self.named.get(name) {
            return Ok(Preset {
                rules: rules.clone(),
                environment: BTreeMap::new(),
            });
        }
        let found = self.ask(name).await?;
        let mut rules = Vec::new();
        for address in &found.addresses {
            let rule = address
                .rule()
                .map_err(|error| error.with_context("preset", name))?;
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        if rules.is_empty() {
            return Err(unknown(name).with_hint(
                "the tool has no configuration of its own on this machine: name the hosts in the operator's policy, \
                 under [egress.presets], or with --allow HOST",
            ));
        }
        Ok(Preset {
            rules,
            environment: found.environment,
        })
    }
}

fn unknown(name: &PresetName) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "this preset names no hosts here",
    )
    .with_context("preset", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presets(policy: &str, environment: &[(&str, &str)]) -> HostPresets {
        let policy = crate::operator::OperatorPolicy::parse(policy).unwrap();
        let environment: BTreeMap<String, String> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        HostPresets::new(&policy.egress, None, &environment)
    }

    #[tokio::test]
    async fn the_operator_s_word_goes_before_the_tool_s() {
        let presets = presets(
            "[egress.presets]\nnpm = [\"packages.example.com\"]",
            &[("NPM_CONFIG_REGISTRY", "https://other.example.com/")],
        );
        let preset = presets.resolve(&"npm".parse().unwrap()).await.unwrap();
        assert_eq!(preset.rules, ["packages.example.com".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_mirror_is_allowed_and_told_to_the_tool_inside() {
        let presets = presets(
            "",
            &[("NPM_CONFIG_REGISTRY", "https://mirror.example.com:8443/npm/")],
        );
        let preset = presets.resolve(&"npm".parse().unwrap()).await.unwrap();
        assert_eq!(preset.rules, ["mirror.example.com:8443".parse().unwrap()]);
        assert_eq!(
            preset.environment["npm_config_registry"],
            "https://mirror.example.com:8443/npm/"
        );
    }

    #[tokio::test]
    async fn an_address_with_a_password_does_not_go_inside() {
        let presets = presets(
            "",
            &[("NPM_CONFIG_REGISTRY", "https://me:canary@mirror.example.com/")],
        );
        let error = presets.resolve(&"npm".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[tokio::test]
    async fn an_unknown_preset_names_those_that_there_are() {
        let error = presets("", &[])
            .resolve(&"rubygems".parse().unwrap())
            .await
            .unwrap_err();
        assert!(error.hint().unwrap().contains("pypi"));
    }
}
