//! What the gateway is told: the operator's policy and the environment, resolved once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use session_core::checkpoint::CheckpointPolicy;
use session_core::egress::Presets;
use session_core::error::{Error, ErrorKind, Result};
use session_core::lifetime::Lifetime;
use session_core::manager::AdmissionPolicy;
use session_gateway::SessionGateway;
use session_gateway::egress::{CredentialRule, CredentialScheme, EgressConfig, EgressLimits};
use session_gateway::model::{ModelPrice, ModelProxyConfig, PriceTable, ProviderKind, Rates};

use super::providers;
use crate::operator::{CredentialEntry, Egress, Followed, OperatorPolicy, Price};
use crate::presets::HostPresets;
use crate::settings::env::{self, Environment};
use crate::settings::{Credential, Overrides};

const OPERATION: &str = "read the operator's policy";
/// A hundred times the bundle of a system.
const MAX_CERTIFICATES: u64 = 32 << 20;

/// Everything that sessions may reach, and what they may use of it.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Models.
    pub model: ModelProxyConfig,
    /// Hosts.
    pub egress: EgressConfig,
    /// What presets stand for.
    pub presets: Arc<dyn Presets>,
    /// Whether a session may have the open network.
    pub allow_open: bool,
    /// When their work is kept.
    pub checkpoints: CheckpointPolicy,
    /// How many there may be.
    pub admission: AdmissionPolicy,
    /// When those end that name no time of their own.
    pub lifetime: Lifetime,
    /// How long what was derived for them stays unused; `None` for as long as is usual.
    pub keep_images: Option<Duration>,
    /// Certificates that sessions trust beside their image's own: named by the policy, which has to be there, or by the
    /// environment.
    pub certificates: Option<Certificates>,
}

/// A bundle of certificates.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The file.
    pub path: PathBuf,
    /// Whether somebody counts on it.
    pub required: bool,
}

impl GatewaySettings {
    /// Resolves policy and environment. Asks nobody and reads no secret but those in variables.
    ///
    /// # Errors
    /// `InvalidArgument` for what cannot be used.
    pub fn resolve(
        policy: &OperatorPolicy,
        overrides: &Overrides,
        credential: Option<&Credential>,
        home: Option<&PathBuf>,
        environment: &dyn Environment,
    ) -> Result<Self> {
        let required = policy
            .network
            .certificates
            .clone()
            .map(|path| Certificates { path, required: true });
        let found = || {
            let path = environment.get(env::SSL_CERT_FILE).map(PathBuf::from)?;
            Some(Certificates {
                path,
                required: false,
            })
        };
        Ok(Self {
            model: model(policy, overrides, credential, home, environment)?,
            egress: egress(&policy.egress, environment)?,
            presets: Arc::new(HostPresets::new(&policy.egress, home.cloned(), environment)),
            allow_open: policy.network.open,
            checkpoints: policy.checkpoints.policy(),
            admission: policy.admission.policy(),
            lifetime: policy.lifetimes.lifetime(),
            keep_images: policy.images.keep(),
            certificates: required.or_else(found),
        })
    }

    /// Whether the providers have credentials of their own, beside the one of the settings.
    pub fn brings_credentials(&self) -> bool {
        self.model.providers.iter().any(|provider| match &provider.kind {
            ProviderKind::Messages(messages) => messages.credential.has_source(),
            ProviderKind::Bedrock(_) | ProviderKind::Vertex(_) => true,
        })
    }

    /// The gateway.
    pub fn build(&self) -> SessionGateway {
        SessionGateway::new(self.model.clone()).with_egress(self.egress.clone())
    }

    /// The certificates, read.
    ///
    /// # Errors
    /// `HostIo` when they are counted on and cannot be read.
    pub fn read_certificates(&self) -> Result<Option<Bytes>> {
        let Some(certificates) = &self.certificates else {
            return Ok(None);
        };
        let small = std::fs::metadata(&certificates.path).is_ok_and(|file| file.len() <= MAX_CERTIFICATES);
        match small.then(|| std::fs::read(&certificates.path)) {
            Some(Ok(bundle)) => Ok(Some(only_certificates(&bundle))),
            _ if !certificates.required => Ok(None),
            unreadable => {
                let mut error = Error::new(
                    ErrorKind::HostIo,
                    OPERATION,
                    "the bundle of certificates cannot be read",
                )
                .with_context("file", certificates.path.display())
                .with_hint("correct [network] certificates in the policy");
                if let Some(Err(source)) = unreadable {
                    error = error.with_source(source);
                }
                Err(error)
            }
        }
        .map(|bundle| bundle.filter(|bundle| !bundle.is_empty()))
    }
}

/// A bundle can hold anything, even a private key that somebody put there; a session gets the certificates.
fn only_certificates(bundle: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(bundle);
    let mut kept = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.lines().map(str::trim_end) {
        inside |= line == "-----BEGIN CERTIFICATE-----";
        if inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= line != "-----END CERTIFICATE-----";
    }
    kept.into()
}

fn model(
    policy: &OperatorPolicy,
    overrides: &Overrides,
    credential: Option<&Credential>,
    home: Option<&PathBuf>,
    environment: &dyn Environment,
) -> Result<ModelProxyConfig> {
    let prices = policy
        .prices
        .iter()
        .map(|(pattern, price)| Ok((pattern.clone(), model_price(price)?)));
    let prices: Vec<_> = prices.collect::<Result<_>>()?;
    Ok(ModelProxyConfig {
        providers: providers::resolve(policy, overrides, credential, home, environment)?,
        aws: providers::aws_sources(home, environment)?,
        prices: PriceTable::default().with_overrides(prices)?,
        session_budget: policy.budget.session.budget()?,
        daily_budget: policy.budget.day.budget()?,
        ..ModelProxyConfig::default()
    })
}

fn egress(policy: &Egress, environment: &dyn Environment) -> Result<EgressConfig> {
    let mut limits = EgressLimits {
        max_bytes: policy.max_bytes,
        bytes_per_second: policy.bytes_per_second,
        ..EgressLimits::default()
    };
    if let Some(connections) = policy.max_connections {
        limits.max_connections = connections;
    }
    let credentials = policy
        .credentials
        .iter()
        .map(|entry| credential_rule(entry, environment));
    Ok(EgressConfig {
        always: policy.allow.clone(),
        private_networks: policy.private_networks.clone(),
        credentials: credentials.collect::<Result<_>>()?,
        limits,
        ..EgressConfig::default()
    })
}

fn credential_rule(entry: &CredentialEntry, environment: &dyn Environment) -> Result<CredentialRule> {
    let scheme = match (&entry.user, &entry.header) {
        (Some(user), None) => CredentialScheme::Basic { user: user.clone() },
        (None, Some(name)) => CredentialScheme::Header {
            name: name
                .parse()
                .map_err(|_| refuse("the header field of a credential has no legal name"))?,
        },
        (None, None) => CredentialScheme::Bearer,
        (Some(_), Some(_)) => return Err(refuse("a credential has either a user or a header field")),
    };
    CredentialRule::new(
        &entry.host,
        &entry.path,
        scheme,
        Followed::new(&entry.secret, environment)?,
    )
}

fn model_price(price: &Price) -> Result<ModelPrice> {
    let cache_write = price.cache_write.unwrap_or(price.input * 1.25);
    Ok(ModelPrice::flat(Rates {
        input: micro(price.input)?,
        output: micro(price.output)?,
        cache_read: micro(price.cache_read.unwrap_or(price.input / 10.0))?,
        cache_write: micro(cache_write)?,
        cache_write_1h: micro(cache_write.max(price.input * 2.0))?,
    }))
}

fn micro(usd: f64) -> Result<u64> {
    let scaled = usd * 1e6;
    if !(0.0..=1e15).contains(&scaled) {
        return Err(refuse("a price is no amount of US dollars"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1e15, see above"
    )]
    Ok(scaled.round() as u64)
}

fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message)
        .with_hint("docs/guides/egress.md and docs/guides/providers.md show the whole file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_leave_a_bundle() {
        let bundle = "# a\n-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n\
                      -----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n";
        let kept = only_certificates(bundle.as_bytes());
        assert!(!kept.windows(6).any(|window| window == b"SECRET"));
        assert!(kept.starts_with(b"-----BEGIN CERTIFICATE-----\nAA\n"));
    }

    #[test]
    fn a_price_fills_in_what_is_left_out() {
        let price = Price {
            input: 3.0,
            output: 15.0,
            cache_read: None,
            cache_write: None,
        };
        let rates = model_price(&price).unwrap().rates;
        assert_eq!(
            (rates.input, rates.cache_read, rates.cache_write),
            (3_000_000, 300_000, 3_750_000)
        );
        assert!(model_price(&Price { input: -1.0, ..price }).is_err());
    }
}
