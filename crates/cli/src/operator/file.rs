//! What stands in the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use session_core::budget::Budget;
use session_core::egress::{HostRule, PresetName};
use session_core::error::Result;
use session_core::secret::SecretReference;

use super::holding::{Admission, Images, Lifetimes};
use super::keeping::Checkpoints;
use super::refuse;
use crate::parse::parse_size;

/// The file as a whole. `Default` is what holds without one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorPolicy {
    /// Networks.
    pub network: Network,
    /// Hosts.
    pub egress: Egress,
    /// How much may be used.
    pub budget: Budgets,
    /// When sessions' work is kept.
    pub checkpoints: Checkpoints,
    /// How many sessions there may be.
    pub admission: Admission,
    /// When they end by themselves.
    pub lifetimes: Lifetimes,
    /// What is kept for later ones.
    pub images: Images,
    /// What models cost, where the table of list prices is wrong or silent: by a pattern of their names.
    pub prices: BTreeMap<String, Price>,
    /// Model providers, in order of preference. None means that the environment names the one.
    pub providers: Vec<Provider>,
}

/// Networks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Whether a session may have the open network when it is asked for.
    pub open: bool,
    /// A bundle of certificates, in PEM form, that sessions trust beside their image's own.
    pub certificates: Option<PathBuf>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            open: true,
            certificates: None,
        }
    }
}

/// Hosts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// What every session may reach.
    #[serde(deserialize_with = "filled")]
    pub allow: Vec<HostRule>,
    /// Private networks to which names may lead.
    #[serde(deserialize_with = "filled")]
    pub private_networks: Vec<IpNet>,
    /// Named sets of hosts, beside and before those that the tools on this machine know.
    pub presets: BTreeMap<PresetName, Filled>,
    /// Credentials that are added on this machine.
    pub credentials: Vec<CredentialEntry>,
    /// Connections of one session at once.
    pub max_connections: Option<usize>,
    /// Bytes that a session may move in all, such as "10g".
    #[serde(deserialize_with = "size")]
    pub max_bytes: Option<u64>,
    /// Bytes that a session may move in a second, such as "20m".
    #[serde(deserialize_with = "size")]
    pub bytes_per_second: Option<u64>,
}

/// A list that is there and not empty.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Filled(#[serde(deserialize_with = "filled")] pub Vec<HostRule>);

/// A credential for a host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialEntry {
    /// The host.
    pub host: String,
    /// Below which path.
    #[serde(default = "root")]
    pub path: String,
    /// With `user`, it is the password of that user; with `header`, the value of that field; else a bearer token.
    pub user: Option<String>,
    /// The name of a header field.
    pub header: Option<String>,
    /// Where the secret is.
    pub secret: SecretReference,
}

/// How much may be used.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// By each session.
    pub session: Amounts,
    /// By all sessions in a day, from midnight UTC on.
    pub day: Amounts,
}

/// Limits in the units in which people think.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Amounts {
    /// US dollars.
    pub usd: Option<f64>,
    /// Tokens of all kinds.
    pub tokens: Option<u64>,
    /// Requests.
    pub requests: Option<u64>,
    /// Minutes with a request under way.
    pub minutes: Option<f64>,
}

impl Amounts {
    /// In the units of the accounts.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no amount.
    pub fn budget(&self) -> Result<Budget> {
        Ok(Budget {
            cost_microusd: self.usd.map(|usd| amount(usd, 1e6)).transpose()?,
            tokens: self.tokens,
            requests: self.requests,
            model_ms: self.minutes.map(|minutes| amount(minutes, 60e3)).transpose()?,
        })
    }
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input.
    pub input: f64,
    /// Output.
    pub output: f64,
    /// Input from the cache; a tenth of `input` when it is left out.
    pub cache_read: Option<f64>,
    /// Input into the cache; one and a quarter of `input` when it is left out, and twice it for an hour's stay.
    pub cache_write: Option<f64>,
}

/// A model provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it is.
    pub kind: ProviderName,
    /// What it is called in events; its kind when it is left out.
    pub name: Option<String>,
    /// Where it is, when that is not where its kind always is.
    pub base_url: Option<String>,
    /// Its key: for `anthropic`, `subscription` and `gateway`.
    pub secret: Option<SecretReference>,
    /// The header field for the key of a `gateway`; a bearer token without it.
    pub header: Option<String>,
    /// The region of `bedrock` and `vertex`.
    pub region: Option<String>,
    /// The project of `vertex`.
    pub project: Option<String>,
    /// The AWS profile of `bedrock`.
    pub profile: Option<String>,
}

/// Kinds of providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderName {
    /// The vendor, with an API key.
    Anthropic,
    /// The vendor, with a subscription's token.
    Subscription,
    /// Whatever else speaks the Messages API.
    Gateway,
    /// AWS Bedrock.
    Bedrock,
    /// Google Vertex.
    Vertex,
}

impl OperatorPolicy {
    /// Reads the file's text.
    ///
    /// # Errors
    /// `InvalidArgument` with the line.
    pub fn parse(text: &str) -> Result<Self> {
        let policy: Self = toml::from_str(text).map_err(|error| {
            // Its own text quotes the line, and a line can hold a secret that somebody wrote down.
            let line = error.span().map_or(0, |span| {
                let before = &text.as_bytes()[..span.start.min(text.len())];
                before.iter().filter(|byte| **byte == b'\n').count() + 1
            });
            refuse(
                error.message().to_owned(),
                "see docs/guides/egress.md and docs/guides/operations.md for every key",
            )
            .with_context("line", line)
        })?;
        policy.budget.session.budget()?;
        policy.budget.day.budget()?;
        Ok(policy)
    }

    /// The variables that it names as secrets.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let providers = self
            .providers
            .iter()
            .filter_map(|provider| provider.secret.as_ref());
        let hosts = self.egress.credentials.iter().map(|entry| &entry.secret);
        providers.chain(hosts).filter_map(|secret| match secret {
            SecretReference::Env(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

fn root() -> String {
    "/".to_owned()
}

fn amount(value: f64, unit: f64) -> Result<u64> {
    let scaled = value * unit;
    if !(1.0..=1e18).contains(&scaled) {
        return Err(refuse(
            "an amount of a budget is not a positive number",
            "leave a limit out to have none",
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 1e18, see above"
    )]
    Ok(scaled.round() as u64)
}

/// An empty list reads as if it said something, and means nothing.
fn filled<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    if list.is_empty() {
        return Err(D::Error::custom(
            "the list is empty: leave it out, or name something",
        ));
    }
    Ok(list)
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use session_core::error::ErrorKind;

    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let policy = OperatorPolicy::parse(
            r#"
            [network]
            open = false
            [egress]
            allow = ["docs.example.com", "*.cdn.example.com:443"]
            private_networks = ["10.1.0.0/16"]
            max_bytes = "10g"
            [egress.presets]
            npm = ["packages.example.com"]
            [[egress.credentials]]
            host = "git.example.com"
            path = "/team"
            user = "x-access-token"
            secret = { env = "GIT_TOKEN" }
            [budget.session]
            usd = 2.5
            [budget.day]
            minutes = 90
            [prices."claude-x"]
            input = 3.0
            output = 15.0
            [[providers]]
            kind = "anthropic"
            secret = { file = "/run/key" }
            "#,
        )
        .unwrap();
        assert!(!policy.network.open);
        assert_eq!(policy.egress.allow.len(), 2);
        assert_eq!(policy.egress.max_bytes, Some(10 << 30));
        assert_eq!(
            policy.budget.session.budget().unwrap().cost_microusd,
            Some(2_500_000)
        );
        assert_eq!(policy.budget.day.budget().unwrap().model_ms, Some(5_400_000));
        assert_eq!(policy.providers[0].kind, ProviderName::Anthropic);
    }

    #[test]
    fn what_does_not_hold_is_an_error_with_its_line() {
        for (text, words) in [
            ("[egress]\nalow = [\"a.example\"]", "unknown field"),
            ("[egress]\nallow = []", "empty"),
            ("[egress]\nallow = [\"*.com\"]", "wildcard"),
            ("[egress.presets]\nnpm = []", "empty"),
            ("[egress]\nallow = [\"10.0.0.1\"]", "host name"),
            ("[egress]\nprivate_networks = [\"10.0.0.0/64\"]", ""),
            ("[budget.day]\nusd = -1.0", "positive"),
            ("[budget.day]\nusd = 0", "positive"),
            ("[budget]\nmonth = 1", "unknown field"),
            ("not toml", ""),
        ] {
            let error = OperatorPolicy::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            assert!(error.message().contains(words), "{text}: {}", error.message());
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn an_error_does_not_repeat_what_stands_in_the_file() {
        let text = "[[egress.credentials]]\nhost = \"a.example\"\nsecret = \"canary-secret\"\n";
        let error = OperatorPolicy::parse(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}
