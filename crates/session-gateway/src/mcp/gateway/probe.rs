//! A look at one server: started, asked what it has, ended. For people who try out what they declared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use session_core::budget::{Spending, Spent};
use session_core::egress::EgressDecision;
use session_core::error::{Error, Result};
use session_core::gateway::{DoorEvent, Ledger, McpGrant};
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, ServerName};

use super::McpGateway;
use crate::mcp::call::{CallError, Failure, FailureCause};
use crate::mcp::servers::Server;

/// What a server has, as sessions would see it. Names are its own choice: cleaned, and an attacker's all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The tools that may be called.
    pub tools: Vec<String>,
    /// Tools that are held until somebody approves them.
    pub held: Vec<String>,
    /// How many prompts it has.
    pub prompts: usize,
    /// How many resources and templates of them.
    pub resources: usize,
    /// What people should know about it, although it works: one line.
    pub warning: Option<String>,
    /// From the start until it had said everything.
    pub took: Duration,
}

/// A ledger for whoever is no session: what happens is in the log alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unrecorded;

#[async_trait]
impl Ledger for Unrecorded {
    async fn spent(&self) -> Result<Spent> {
        Ok(Spent::default())
    }

    async fn charge(&self, _spending: Spending) -> Result<()> {
        Ok(())
    }

    async fn decisions(&self) -> Result<Vec<EgressDecision>> {
        Ok(Vec::new())
    }

    async fn record(&self, event: DoorEvent) -> Result<()> {
        tracing::debug!(?event, "not recorded");
        Ok(())
    }
}

impl McpGateway {
    /// Starts a server that is declared, whatever is known of it already, asks what it has, and ends it. What it says is
    /// kept and judged as if a session had started it.
    ///
    /// # Errors
    /// Why it does not work.
    pub async fn probe(&self, server: &ServerName) -> Result<Probe, Failure> {
        let (catalog, name) = (Arc::clone(&self.0.config.catalog), server.clone());
        let forgotten = tokio::task::spawn_blocking(move || catalog.forget_manifest(&name)).await;
        if let Ok(Err(error)) = forgotten {
            return Err(unusable(server, &error));
        }
        let id = SessionId::new();
        let grant = McpGrant {
            plan: McpPlan {
                servers: vec![server.clone()],
                ..McpPlan::default()
            },
            own: None,
        };
        let admitted = self.0.registry.admit(id, &grant, Arc::new(Unrecorded)).await;
        let servers = admitted.map_err(|error| unusable(server, &error))?;
        let probed = match servers.first() {
            Some(first) => look(first).await,
            None => Err(failure(server, "it is not declared")),
        };
        self.0.registry.dismiss(&id).await;
        probed
    }
}

async fn look(server: &Server) -> Result<Probe, Failure> {
    let begun = Instant::now();
    let offer = server.offer().await.map_err(|error| match error {
        CallError::NotSent(failure) | CallError::MayHaveRun(failure) => failure,
        CallError::Answered(error) => failure(server.name(), &error.message),
        CallError::Cancelled => failure(server.name(), "it was ended meanwhile"),
    })?;
    Ok(Probe {
        tools: offer.tools.iter().map(|tool| tool.name.to_string()).collect(),
        held: offer.held.clone(),
        prompts: offer.prompts.len(),
        resources: offer.resources.len() + offer.resource_templates.len(),
        warning: offer.warning.clone(),
        took: begun.elapsed(),
    })
}

fn unusable(server: &ServerName, error: &Error) -> Failure {
    failure(server, error.message())
}

fn failure(server: &ServerName, detail: &str) -> Failure {
    Failure {
        server: server.clone(),
        cause: FailureCause::Unavailable,
        detail: crate::mcp::upstream::one_line(detail),
    }
}
