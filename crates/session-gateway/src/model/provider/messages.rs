//! Providers that speak the Messages API: the vendor with a key or a subscription, gateways, Azure.

use session_core::gateway::ModelApi;

use super::{Keys, Provider};
use crate::model::base_url::BaseUrl;
use crate::model::source::CredentialSource;

/// A provider that speaks the Messages API. What the credential is says how it travels.
#[derive(Debug, Clone, Default)]
pub struct MessagesConfig {
    /// Its address, without `/v1`.
    pub base_url: BaseUrl,
    /// The operator's credential.
    pub credential: CredentialSource,
}

impl MessagesConfig {
    pub(super) fn provider(&self, name: &str) -> Provider {
        let keys = Keys::Header(self.credential.clone());
        Provider::new(name, ModelApi::Messages, self.base_url.clone(), keys)
    }
}
