//! The header fields of requests: the definition's, with their secrets as they are now.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use mcp_catalog::Value;
use secrecy::{ExposeSecret as _, SecretString};
use session_core::secret::Secrets;

use super::super::life::Reason;
use super::super::secrets::Values;
use crate::mcp::call::FailureCause;
use crate::mcp::wire::Mask;

/// Secrets that are still masked after they were replaced: answers to requests that had them are under way.
const REMEMBERED: usize = 8;

/// What a definition cannot set: it frames the request, or belongs to the protocol.
const OURS: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
];

/// See the module.
pub(in crate::mcp::upstream) struct Headers {
    values: Values,
    known: Mutex<Known>,
}

/// Secrets that were sent.
#[derive(Default)]
struct Known {
    secrets: Vec<SecretString>,
    mask: Mask,
}

impl Headers {
    pub(in crate::mcp::upstream) fn follow(
        headers: &BTreeMap<String, Value>,
        secrets: &dyn Secrets,
    ) -> Result<Self, Reason> {
        for name in headers.keys() {
            let named = HeaderName::try_from(name.as_str()).ok();
            let free = |name: &HeaderName| !OURS.contains(name) && !name.as_str().starts_with("mcp-");
            if !named.as_ref().is_some_and(free) {
                let detail = format!("its header {name} cannot be set");
                return Err((FailureCause::Unavailable, detail));
            }
        }
        Ok(Self {
            values: Values::follow(headers, secrets)?,
            known: Mutex::default(),
        })
    }

    /// The fields as they are now.
    pub(super) async fn fields(&self) -> Result<HeaderMap, Reason> {
        let resolved = self.values.resolve().await?;
        self.remember(resolved.secrets);
        let mut fields = HeaderMap::new();
        for (name, value) in resolved.values {
            let (Ok(field), Ok(mut value)) = (
                HeaderName::try_from(name.as_str()),
                HeaderValue::from_str(value.expose_secret()),
            ) else {
                let detail = format!("the secret of its header {name} cannot be sent in a header");
                return Err((FailureCause::SecretMissing, detail));
            };
            value.set_sensitive(true);
            fields.insert(field, value);
        }
        Ok(fields)
    }

    /// These are masked in what the server says from now on.
    pub(super) fn remember(&self, secrets: Vec<SecretString>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |secrets: &[SecretString], secret: &SecretString| {
            secrets
                .iter()
                .any(|known| known.expose_secret() == secret.expose_secret())
        };
        let (before, most) = (known.secrets.len(), REMEMBERED + secrets.len());
        for secret in secrets {
            if !is_known(&known.secrets, &secret) {
                known.secrets.push(secret);
            }
        }
        if known.secrets.len() > before {
            let surplus = known.secrets.len().saturating_sub(most);
            known.secrets.drain(..surplus);
            known.mask = Mask::new(&known.secrets);
        }
    }

    pub(super) fn mask(&self) -> Mask {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .mask
            .clone()
    }
}
