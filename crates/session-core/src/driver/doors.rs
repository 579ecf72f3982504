//! The session at its gateway: what it was admitted to, and who opens its doors.
//!
//! The agent's owner opens them all: what the agent asks for is answered as long as somebody works with it. But a command
//! or a clone in a sealed session needs the way out as well, and nobody may own the agent then. So whoever runs one lets
//! the session in at the gateway of this process, which costs no exchange with anybody, and opens the egress door on its
//! own link, unless somebody serves it already: the agent's owner, who holds the agent's lock, or another who holds the
//! lock of the way out. The model's door is never opened this way: it is the agent's alone, and may need an account that
//! only the agent's owner has. Nor is that of the MCP endpoint, whose servers the agent's owner holds.
//!
//! Connections are cut with the link that carries them, so the place is taken over only when it is empty. Until somebody
//! looks, new connections wait inside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use session_link::{Door, Link};
use tokio::time::Instant;

use super::Driver;
use super::connect::Linked;
use super::ledger::StoreLedger;
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{
    Admission, EGRESS_DOOR, Gateway, GatewayDoor, MCP_PORT, McpGrant, ModelApi, SessionGrant,
};
use crate::link_error::from_link;
use crate::mcp::{McpPlan, McpSelection};
use crate::runtime::NetworkMode;
use crate::session::SessionInfo;
use crate::state_dir::EgressLock;
use crate::store::SessionRecord;

/// How often a process whose programs go out through another one's link looks whether that is there still. Shorter than
/// connections wait inside.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What this process answers on a link.
#[derive(Debug, Default)]
pub(super) enum Served {
    /// Nothing: whoever does is another process.
    #[default]
    Nothing,
    /// The way out, for programs that are not the agent's.
    Egress { _lock: EgressLock },
    /// Every door, for the agent.
    All,
    /// The container does not let the door be opened; asking again would not help.
    Refused,
}

impl Driver {
    /// Lets the session in at the gateway, unless that was done.
    pub(super) async fn admit(&mut self, record: &SessionRecord) -> Result<&Admission> {
        let admission = match self.admission.take() {
            Some(admission) => admission,
            None => {
                let grant = self.grant(record).await;
                self.foundation.gateway.admit(&self.id, grant).await?
            }
        };
        Ok(self.admission.insert(admission))
    }

    /// Programs of a session with a network of its own need nothing of the gateway.
    fn needs_admission(&self, record: &SessionRecord) -> bool {
        self.admission.is_none() && record.info.network == NetworkMode::Sealed
    }

    async fn grant(&self, record: &SessionRecord) -> SessionGrant {
        let info = &record.info;
        SessionGrant {
            token: record.token.clone(),
            account: self.account.clone(),
            sealed: info.network == NetworkMode::Sealed,
            allow: info.allow.clone(),
            budget: info.budget,
            mcp: McpGrant {
                plan: mcp_plan(&*self.foundation.gateway, info).await,
                own: info.mcp_config.clone(),
            },
            ledger: Arc::new(StoreLedger::new(self.foundation.store.clone(), self.id)),
        }
    }

    /// Where the agent finds its MCP servers, if it has any.
    pub(super) fn mcp_url(&self) -> Option<String> {
        let mcp = self.admission.as_ref().is_some_and(|admission| admission.mcp);
        mcp.then(|| format!("http://127.0.0.1:{MCP_PORT}/mcp"))
    }

    /// Has the gateway forget the session.
    pub(super) async fn dismiss(&mut self) {
        self.admission = None;
        self.foundation.gateway.dismiss(&self.id).await;
    }

    /// The API of the session's model door, as far as it was admitted.
    pub(super) fn model_api(&self) -> ModelApi {
        self.admission
            .as_ref()
            .map(|admission| admission.model_api.clone())
            .unwrap_or_default()
    }

    /// The session's own environment with what is around it.
    pub(super) fn environment(&self, record: &SessionRecord) -> BTreeMap<String, String> {
        let mut env = record.info.env.clone();
        self.ambient(record).add_to(&mut env);
        env
    }

    fn ambient(&self, record: &SessionRecord) -> Ambient {
        let hosts = self
            .admission
            .as_ref()
            .map(|admission| admission.credential_hosts.as_slice());
        Ambient::of(&record.info, hosts.unwrap_or_default())
    }

    /// Opens all doors on the link: for whoever owns the agent.
    pub(super) async fn open_doors(&mut self, link: &Link, record: &SessionRecord) -> Result<()> {
        let doors = self.admit(record).await?.doors.iter().map(door).collect();
        if let Err(error) = link.open_doors(doors).await {
            // Perhaps the gateway has other ones by the next time.
            self.admission = None;
            return Err(from_link("open the session's doors", error));
        }
        self.serves(Served::All);
        self.publish(record);
        Ok(())
    }

    /// The link with what programs need beside it: a way out, if they have one, and the environment that leads there.
    ///
    /// A gateway that does not let the session in is no reason not to run a program: most need no way out.
    pub(super) async fn ready_for_programs(&mut self, record: &SessionRecord) -> Result<Linked> {
        let (gateway, id) = (self.foundation.gateway.clone(), self.id);
        let grant = if self.needs_admission(record) {
            Some(self.grant(record).await)
        } else {
            None
        };
        // While the container dials.
        let admitting = async {
            match grant {
                Some(grant) => gateway.admit(&id, grant).await.map(Some),
                None => Ok(None),
            }
        };
        let (linked, admitted) = tokio::join!(self.connect(), admitting);
        let (link, _) = linked?;
        match admitted {
            Ok(admission) => self.admission = admission.or(self.admission.take()),
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "programs have no way out of the session");
            }
        }
        self.serve_egress(&link, Place::IfFree).await;
        self.publish(record).ok_or_else(|| {
            Error::new(
                ErrorKind::LinkLost,
                "reach the session",
                "the link closed as soon as it was up",
            )
        })
    }

    /// Tells those who run programs what is around them, so that they need not ask.
    fn publish(&self, record: &SessionRecord) -> Option<Linked> {
        let linked = self.connection.as_ref().map(|connection| Linked {
            link: connection.link.clone(),
            carrier: connection.carrier,
            ambient: Some(Arc::new(self.ambient(record))),
            all_doors: matches!(connection.served, Served::All),
        });
        self.link_out.send_replace(linked.clone());
        linked
    }

    /// What a clone needs: the maker of a session holds the agent's lock, so nobody else serves anything yet.
    pub(super) async fn ready_for_clone(&mut self, link: &Link, record: &SessionRecord) -> Result<Ambient> {
        if record.info.network == NetworkMode::Sealed {
            self.admit(record).await?;
            self.serve_egress(link, Place::Ours).await;
        }
        Ok(self.ambient(record))
    }

    /// Opens the way out on the link, if there is one and nobody serves it.
    async fn serve_egress(&mut self, link: &Link, place: Place) {
        let Some(door) = self.unserved_egress() else {
            return;
        };
        let lock = match self.take_place(place) {
            Ok(Some(lock)) => lock,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "the way out cannot be served");
                return;
            }
        };
        let served = match link.open_doors(vec![door]).await {
            Ok(()) => {
                tracing::debug!(session = %self.id, "the way out is served here");
                Served::Egress { _lock: lock }
            }
            Err(error) => {
                tracing::warn!(session = %self.id, %error, "the egress door cannot be opened");
                Served::Refused
            }
        };
        self.serves(served);
    }

    /// The door of the way out, when the session has one and this process does not serve it.
    fn unserved_egress(&self) -> Option<Door> {
        let connection = self.connection.as_ref()?;
        let unserved = matches!(connection.served, Served::Nothing) && !connection.link.is_closed();
        let doors = &self.admission.as_ref()?.doors;
        let egress = doors.iter().find(|door| door.name == EGRESS_DOOR)?;
        unserved.then(|| door(egress))
    }

    fn take_place(&self, place: Place) -> Result<Option<EgressLock>> {
        let state_dir = &self.foundation.state_dir;
        let Some(lock) = state_dir.try_lock_egress(&self.id)? else {
            return Ok(None);
        };
        // Held for an instant only; who wants the agent in this very instant tries again soon.
        let free = place == Place::Ours || state_dir.try_lock_agent(&self.id)?.is_some();
        Ok(free.then_some(lock))
    }

    fn serves(&mut self, served: Served) {
        if let Some(connection) = &mut self.connection {
            connection.served = served;
        }
    }

    /// Whether this process answers every door on the link that is up.
    pub(super) fn answers_all_doors(&self) -> bool {
        let served = self.connection.as_ref().map(|connection| &connection.served);
        matches!(served, Some(Served::All))
    }

    /// When to look whether the way out is served still, while programs here may need it and another serves it.
    pub(super) fn egress_deadline(&self) -> Option<Instant> {
        let programs = self.link_out.borrow();
        let programs = programs.as_ref().is_some_and(|linked| linked.ambient.is_some());
        (programs && self.unserved_egress().is_some()).then(|| Instant::now() + LOOK_EVERY)
    }

    /// Takes the place of whoever served the way out and went away.
    pub(super) async fn take_over_egress(&mut self) {
        if self.egress_deadline().is_some()
            && let Some(link) = self.connection.as_ref().map(|connection| connection.link.clone())
        {
            self.serve_egress(&link, Place::IfFree).await;
        }
    }
}

/// Whether somebody else may serve the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    IfFree,
    /// This process holds the agent's lock.
    Ours,
}

/// What was decided when the session was made. One that was made before there was anything to decide has the servers that
/// it brought itself, if they can be used.
pub(crate) async fn mcp_plan(gateway: &dyn Gateway, info: &SessionInfo) -> McpPlan {
    match (&info.mcp, &info.mcp_config) {
        (Some(plan), _) => plan.clone(),
        (None, None) => McpPlan::default(),
        (None, own @ Some(_)) => {
            let only_own = McpSelection {
                none: true,
                ..McpSelection::default()
            };
            let plan = gateway.plan_mcp(&only_own, own.as_ref()).await;
            plan.unwrap_or_else(|error| {
                tracing::warn!(session = %info.id, %error, "the MCP servers that the session brought cannot be used");
                McpPlan::default()
            })
        }
    }
}

fn door(door: &GatewayDoor) -> Door {
    Door {
        name: door.name.clone(),
        port: door.port,
    }
}
