//! The gateway as the core sees it: one type that answers every door of every session.

use async_trait::async_trait;
use futures::future::BoxFuture;
use session_core::error::{Error, ErrorKind, Result};
use session_core::gateway::{
    Admission, Gateway, GatewayDoor, MODEL_DOOR, MODEL_PORT, ModelActivity, ModelApi, ModelUsage,
    ProviderAccount, SessionGrant,
};
use session_core::id::SessionId;
use session_core::runtime::BoxedByteStream;

use crate::error::{Chain, GatewayError, GatewayErrorKind};
use crate::model::{Credential, ModelProxy, ModelProxyConfig};

/// Holds what sessions may reach. The model proxy is its one door so far.
#[derive(Debug, Clone)]
pub struct SessionGateway {
    model: ModelProxy,
}

impl SessionGateway {
    /// A gateway without sessions. Contacts nobody.
    pub fn new(model: ModelProxyConfig) -> Self {
        Self {
            model: ModelProxy::new(model),
        }
    }

    /// The model proxy, for an account in more detail than the core asks for.
    pub fn model(&self) -> &ModelProxy {
        &self.model
    }
}

#[async_trait]
impl Gateway for SessionGateway {
    async fn admit(&self, session: &SessionId, grant: SessionGrant) -> Result<Admission> {
        let credential = match &grant.account {
            None => None,
            Some(ProviderAccount::ApiKey(key)) => Some(Credential::api_key(key)?),
            Some(ProviderAccount::Bedrock(_)) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "admit the session",
                    "requests to Bedrock cannot be signed yet",
                ));
            }
        };
        self.model.register(*session, grant.token, credential)?;
        Ok(Admission {
            doors: vec![GatewayDoor {
                name: MODEL_DOOR.to_owned(),
                port: MODEL_PORT,
            }],
            model_api: ModelApi::Messages,
            credential_hosts: Vec::new(),
        })
    }

    fn serve(&self, session: &SessionId, door: &str, tunnel: BoxedByteStream) -> BoxFuture<'static, ()> {
        if door != MODEL_DOOR {
            tracing::warn!(%session, "a connection came in at a door that does not exist");
            return Box::pin(std::future::ready(()));
        }
        let (model, session) = (self.model.clone(), *session);
        Box::pin(async move {
            // The core ends a connection by dropping this future, so there is no other signal to wait for.
            if let Err(error) = model.serve(&session, tunnel, std::future::pending()).await {
                tracing::debug!(%session, error = %Chain(&error), "a connection of the model proxy failed");
            }
        })
    }

    fn usage(&self, session: &SessionId) -> ModelUsage {
        let usage = self.model.usage(session).unwrap_or_default();
        ModelUsage {
            requests: usage.requests,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            cache_creation_tokens: usage.cache_creation_tokens,
        }
    }

    fn activity(&self, _session: &SessionId) -> ModelActivity {
        ModelActivity::default()
    }

    async fn dismiss(&self, session: &SessionId) {
        self.model.forget(session);
    }
}

impl From<GatewayError> for Error {
    fn from(error: GatewayError) -> Self {
        let kind = match error.kind() {
            GatewayErrorKind::InvalidBaseUrl
            | GatewayErrorKind::InvalidCredential
            | GatewayErrorKind::InvalidToken => ErrorKind::InvalidArgument,
            GatewayErrorKind::UnknownSession => ErrorKind::NotFound,
            GatewayErrorKind::TooManyConnections => ErrorKind::LimitExceeded,
            GatewayErrorKind::ConnectionFailed => ErrorKind::LinkLost,
            GatewayErrorKind::TlsUnavailable => ErrorKind::HostIo,
        };
        let mut mapped = Self::new(kind, error.operation(), error.message().to_owned())
            .with_retryable(error.is_retryable());
        for (key, value) in error.context() {
            mapped = mapped.with_context(key, value);
        }
        if let Some(hint) = error.hint() {
            mapped = mapped.with_hint(hint);
        }
        match error.into_source() {
            Some(source) => mapped.with_source(source),
            None => mapped,
        }
    }
}
