//! What a definition says of environments and headers, with its secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use mcp_catalog::{SecretValue, Value};
use secrecy::{ExposeSecret as _, SecretString};
use session_core::secret::{SecretReference, SecretSource, Secrets};

use super::life::Reason;
use crate::mcp::call::FailureCause;

/// Values by name, each plain or followed to where its secret is.
#[derive(Default)]
pub(super) struct Values(Vec<(String, Source)>);

enum Source {
    Plain(String),
    Secret {
        prefix: String,
        reference: SecretReference,
        source: Arc<dyn SecretSource>,
    },
}

/// The values as they are now.
#[derive(Default)]
pub(super) struct Resolved {
    pub(super) values: Vec<(String, SecretString)>,
    /// Those of them that are secret, without what stands before.
    pub(super) secrets: Vec<SecretString>,
}

impl Values {
    /// Follows every reference. Reads none.
    pub(super) fn follow(values: &BTreeMap<String, Value>, secrets: &dyn Secrets) -> Result<Self, Reason> {
        let follow = |(name, value): (&String, &Value)| {
            let source = match value {
                Value::Plain(text) => Source::Plain(text.clone()),
                Value::Secret(SecretValue { prefix, secret }) => Source::Secret {
                    prefix: prefix.clone(),
                    reference: secret.clone(),
                    source: secrets.follow(secret).map_err(|_| missing(secret))?,
                },
            };
            Ok((name.clone(), source))
        };
        values.iter().map(follow).collect::<Result<_, _>>().map(Self)
    }

    /// Reads every secret.
    pub(super) async fn resolve(&self) -> Result<Resolved, Reason> {
        let mut resolved = Resolved::default();
        for (name, source) in &self.0 {
            let value = match source {
                Source::Plain(text) => SecretString::from(text.clone()),
                Source::Secret {
                    prefix,
                    reference,
                    source,
                } => {
                    let secret = source.secret().await.ok_or_else(|| missing(reference))?;
                    let value = format!("{prefix}{}", secret.expose_secret());
                    resolved.secrets.push(secret);
                    value.into()
                }
            };
            resolved.values.push((name.clone(), value));
        }
        Ok(resolved)
    }
}

/// Names the reference, never what it leads to.
pub(super) fn missing(reference: &SecretReference) -> Reason {
    let detail = format!("its secret ({reference:?}) cannot be read on this host");
    (FailureCause::SecretMissing, detail)
}
