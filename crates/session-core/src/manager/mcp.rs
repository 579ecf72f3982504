//! How the MCP servers of a session are, in the process that holds them and in any other.
//!
//! Whoever answers the session's doors has its servers, and its gateway knows them exactly. Another process tells what it
//! knows without asking: what its own gateway has on file of the operator's servers and, while somebody else answers the
//! doors, the last that was told of each as an event.

use std::collections::BTreeMap;

use super::SessionManager;
use crate::driver::mcp_plan;
use crate::error::Result;
use crate::mcp::{McpPlan, McpSelection, McpStatus, ServerName, ServerState, ServerStatus};
use crate::store::SessionRecord;

impl SessionManager {
    /// The servers of a session that can have any running; `None` when it has none or has ended.
    pub(super) async fn mcp_of(&self, record: &SessionRecord) -> Result<Option<McpStatus>> {
        let (info, gateway) = (&record.info, &self.inner.foundation.gateway);
        if !info.state.may_have_container() {
            return Ok(None);
        }
        let plan = mcp_plan(&**gateway, info).await;
        if plan.is_empty() {
            return Ok(None);
        }
        let driver = self.live_driver(&info.id);
        if driver.is_some_and(|driver| driver.answers_doors()) {
            return Ok(Some(gateway.mcp_status(Some(&info.id)).await));
        }
        let mut told = self.told_by_another(record).await?;
        let on_file = gateway.mcp_status(None).await.servers;
        let mut on_file: BTreeMap<_, _> = on_file
            .into_iter()
            .map(|status| (status.name.clone(), status))
            .collect();
        let operators = plan.servers.iter().map(|name| {
            let known = on_file.remove(name);
            known.map_or_else(|| removed(name), |known| joined(known, told.remove(name)))
        });
        let mut servers: Vec<_> = operators.collect();
        servers.extend(
            plan.own
                .iter()
                .map(|name| told.remove(name).unwrap_or_else(|| unknown(name))),
        );
        Ok(Some(McpStatus {
            servers,
            drifted: self.has_drifted(&plan).await,
        }))
    }

    /// What another process told of its servers, if one has them now: who owns the agent has.
    async fn told_by_another(&self, record: &SessionRecord) -> Result<BTreeMap<ServerName, ServerStatus>> {
        let (foundation, id) = (&self.inner.foundation, &record.info.id);
        // Held for an instant only; who wants the agent in this very instant tries again soon.
        if foundation.state_dir.try_lock_agent(id)?.is_some() {
            return Ok(BTreeMap::new());
        }
        let told = foundation.store.mcp_servers(id).await?;
        Ok(told
            .into_iter()
            .map(|status| (status.name.clone(), status))
            .collect())
    }

    /// Whether the operator's servers would have another configuration if the session were made now.
    async fn has_drifted(&self, plan: &McpPlan) -> bool {
        if plan.servers.is_empty() {
            return false;
        }
        // Which of their tools it does without is no matter of the configuration.
        let same = McpSelection {
            profile: plan.profile.clone(),
            servers: plan.servers.clone(),
            ..McpSelection::default()
        };
        let now = self.inner.foundation.gateway.plan_mcp(&same, None).await;
        now.map_or(true, |now| now.configuration != plan.configuration)
    }
}

/// What is on file of a server, with what was told of it in a session: tools are on file for all of them.
fn joined(known: ServerStatus, told: Option<ServerStatus>) -> ServerStatus {
    match told {
        None => known,
        Some(told) => ServerStatus {
            held: known.held,
            tools: known.tools.or(told.tools),
            ..told
        },
    }
}

fn removed(name: &ServerName) -> ServerStatus {
    ServerStatus {
        state: ServerState::Removed,
        ..unknown(name)
    }
}

fn unknown(name: &ServerName) -> ServerStatus {
    ServerStatus {
        name: name.clone(),
        state: ServerState::Idle,
        reason: None,
        failures: 0,
        retry_in_ms: None,
        held: Vec::new(),
        tools: None,
    }
}
