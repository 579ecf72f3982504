//! The gateway as the core sees it: one type that answers every door of every session.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use session_core::error::{Error, ErrorKind, Result};
use session_core::gateway::{
    Admission, EGRESS_DOOR, EGRESS_PORT, Gateway, GatewayDoor, MCP_DOOR, MCP_PORT, MODEL_DOOR, MODEL_PORT,
    ModelActivity, ModelUsage, Programs, SessionGrant,
};
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, McpSelection, McpStatus};
use session_core::runtime::BoxedByteStream;
use tracing::Instrument as _;

use crate::egress::{EgressConfig, EgressProxy};
use crate::error::{Chain, GatewayError, GatewayErrorKind};
use crate::mcp::{McpConfig, McpGateway};
use crate::model::{Access, ModelProxy, ModelProxyConfig, Terms};

/// Holds what sessions may reach.
#[derive(Debug, Clone)]
pub struct SessionGateway {
    model: ModelProxy,
    egress: EgressProxy,
    mcp: Option<McpGateway>,
}

impl SessionGateway {
    /// A gateway without sessions. Contacts nobody.
    pub fn new(model: ModelProxyConfig) -> Self {
        Self {
            model: ModelProxy::new(model),
            egress: EgressProxy::new(EgressConfig::default()),
            mcp: None,
        }
    }

    /// The gateway with this egress door. Without it nothing is configured: no presets, no credentials, the usual limits.
    #[must_use]
    pub fn with_egress(mut self, egress: EgressConfig) -> Self {
        self.egress = EgressProxy::new(egress);
        self
    }

    /// The gateway with these MCP servers. Without there are none, and no session can have any.
    #[must_use]
    pub fn with_mcp(mut self, mcp: McpConfig) -> Self {
        self.mcp = Some(McpGateway::new(mcp));
        self
    }

    /// The MCP servers, if there are any.
    pub fn mcp(&self) -> Option<&McpGateway> {
        self.mcp.as_ref()
    }

    /// The model proxy, for an account in more detail than the core asks for.
    pub fn model(&self) -> &ModelProxy {
        &self.model
    }

    /// The egress door, for what it knows of a session.
    pub fn egress(&self) -> &EgressProxy {
        &self.egress
    }
}

#[async_trait]
impl Gateway for SessionGateway {
    async fn admit(&self, session: &SessionId, grant: SessionGrant) -> Result<Admission> {
        let (egress_ledger, mcp_ledger) = (Arc::clone(&grant.ledger), Arc::clone(&grant.ledger));
        let mcp_token = grant.token.clone();
        let access = Access {
            token: grant.token,
            account: grant.account,
            terms: Terms {
                budget: grant.budget,
                ledger: grant.ledger,
            },
        };
        let mut admission = Admission {
            doors: vec![door(MODEL_DOOR, MODEL_PORT)],
            model_api: self.model.register(*session, access).await?,
            credential_hosts: Vec::new(),
            mcp: false,
        };
        if grant.sealed {
            self.egress.register(*session, &grant.allow, egress_ledger)?;
            admission.doors.push(door(EGRESS_DOOR, EGRESS_PORT));
            admission.credential_hosts = self.egress.credential_hosts();
        }
        if let Some(mcp) = self.mcp.as_ref().filter(|_| !grant.mcp.plan.is_empty()) {
            mcp.admit(*session, &grant.mcp, mcp_token, mcp_ledger).await?;
            admission.doors.push(door(MCP_DOOR, MCP_PORT));
            admission.mcp = true;
        }
        Ok(admission)
    }

    fn serve(&self, session: &SessionId, door: &str, tunnel: BoxedByteStream) -> BoxFuture<'static, ()> {
        // Of the highest level, so that whatever is told of a connection says whose it is.
        let span = tracing::error_span!("door", %session);
        let session = *session;
        // The core ends a connection by dropping the future, so there is no other signal to wait for.
        let served: BoxFuture<'static, ()> = match door {
            MODEL_DOOR => {
                let model = self.model.clone();
                Box::pin(async move {
                    if let Err(error) = model.serve(&session, tunnel, std::future::pending()).await {
                        tracing::debug!(%session, error = %Chain(&error), "a connection of the model proxy failed");
                    }
                })
            }
            EGRESS_DOOR => {
                let egress = self.egress.clone();
                Box::pin(async move {
                    if let Err(error) = egress.serve(&session, tunnel).await {
                        tracing::debug!(%session, error = %Chain(&error), "a connection of the egress door failed");
                    }
                })
            }
            MCP_DOOR => {
                let mcp = self.mcp.clone();
                Box::pin(async move {
                    if let Some(mcp) = mcp {
                        mcp.serve(&session, tunnel).await;
                    }
                })
            }
            _ => Box::pin(async {
                tracing::warn!("a connection came in at a door that does not exist");
            }),
        };
        Box::pin(served.instrument(span))
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

    async fn plan_mcp(&self, selection: &McpSelection, own: Option<&serde_json::Value>) -> Result<McpPlan> {
        match &self.mcp {
            Some(mcp) => {
                let (mcp, selection, own) = (mcp.clone(), selection.clone(), own.cloned());
                let planned = tokio::task::spawn_blocking(move || mcp.plan(&selection, own.as_ref()));
                planned.await.map_err(|error| {
                    Error::new(
                        ErrorKind::Internal,
                        "choose MCP servers",
                        "reading what is declared failed",
                    )
                    .with_source(error)
                })?
            }
            None if selection.servers.is_empty() && selection.profile.is_none() && own.is_none() => {
                Ok(McpPlan::default())
            }
            None => Err(Error::new(
                ErrorKind::InvalidArgument,
                "choose MCP servers",
                "this gateway has no MCP servers",
            )),
        }
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> McpStatus {
        let Some(mcp) = self.mcp.clone() else {
            return McpStatus::default();
        };
        let session = session.copied();
        let told = tokio::task::spawn_blocking(move || mcp.status(session.as_ref()));
        told.await.unwrap_or_default()
    }

    fn attach(&self, programs: Arc<dyn Programs>) {
        if let Some(mcp) = &self.mcp {
            mcp.attach(programs);
        }
    }

    fn activity(&self, session: &SessionId) -> ModelActivity {
        self.model.activity(session).unwrap_or_default()
    }

    async fn dismiss(&self, session: &SessionId) {
        self.egress.forget(session);
        self.model.dismiss(session).await;
        if let Some(mcp) = &self.mcp {
            mcp.dismiss(session).await;
        }
    }

    async fn shutdown(&self) {
        if let Some(mcp) = &self.mcp {
            mcp.shutdown().await;
        }
    }
}

fn door(name: &str, port: u16) -> GatewayDoor {
    GatewayDoor {
        name: name.to_owned(),
        port,
    }
}

impl From<GatewayError> for Error {
    fn from(error: GatewayError) -> Self {
        let kind = match error.kind() {
            GatewayErrorKind::InvalidBaseUrl
            | GatewayErrorKind::InvalidCredential
            | GatewayErrorKind::InvalidPrices
            | GatewayErrorKind::InvalidProvider
            | GatewayErrorKind::InvalidToken => ErrorKind::InvalidArgument,
            GatewayErrorKind::UnknownSession => ErrorKind::NotFound,
            GatewayErrorKind::TooManyConnections => ErrorKind::LimitExceeded,
            GatewayErrorKind::ConnectionFailed => ErrorKind::LinkLost,
            GatewayErrorKind::TlsUnavailable => ErrorKind::HostIo,
        };
        let mut mapped = Self::new(kind, error.operation(), error.message().to_owned())
            .with_retryable(error.is_retryable());
        for (key, value) in error.context() {
            mapped = mapped.with_context(*key, value);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::model::ModelProxyConfig;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// At the level of warnings, where spans of lower levels are not there.
    #[tokio::test]
    async fn what_is_told_of_a_connection_says_whose_it_is() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(log.clone())
            .finish();
        // For all threads: what others have found nobody to listen to would stay unheard otherwise.
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let gateway = SessionGateway::new(ModelProxyConfig::default());
        let session = SessionId::new();
        let (_inside, tunnel) = tokio::io::duplex(64);
        gateway.serve(&session, "none\nsuch", Box::new(tunnel)).await;
        let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let of_session = format!("door{{session={session}}}");
        let told = said.lines().filter(|line| line.contains(&of_session));
        assert_eq!(told.count(), 1, "{said}");
    }
}
