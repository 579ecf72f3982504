//! Which instances there are, and for which sessions.
//!
//! A server that each session has for itself ends with its session; a shared one stays and idles. While there are
//! sessions, the operator's files are looked at each second: other processes declare and approve.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use mcp_catalog::{Catalog, Declared, Digest, ServerDefinition, Sharing, Transport, own};
use session_core::error::{Error, ErrorKind, Result};
use session_core::gateway::{Ledger, McpGrant};
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, ServerName, ServerState, ServerStatus};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connect::Connect;
use super::instance::{Command, Instance, Wiring, status};
use super::news::Reporter;
use super::offer::Offer;
use super::places::Places;
use super::server::Server;
use super::shelf::Shelf;
use crate::mcp::config::McpLimits;

const OPERATION: &str = "give a session its MCP servers";
/// How often the operator's files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Registry {
    catalog: Arc<Catalog>,
    wiring: Arc<Wiring>,
    state: Mutex<State>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    closed: bool,
    instances: HashMap<Key, Arc<Instance>>,
    sessions: HashMap<SessionId, Arc<Session>>,
    looking: Option<JoinHandle<()>>,
}

impl State {
    /// Whether a session brought it.
    fn is_own(&self, instance: &Arc<Instance>) -> bool {
        let is_it = |server: &Server| server.is_own() && Arc::ptr_eq(server.instance(), instance);
        let mut sessions = self.sessions.values();
        sessions.any(|session| session.servers.iter().any(is_it))
    }
}

/// Which instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    name: ServerName,
    /// For whom; for all when `None`.
    owner: Option<SessionId>,
    /// The definition that was published, where only those count. Such an instance keeps it.
    published: Option<Digest>,
}

struct Session {
    plan: McpPlan,
    own: Option<serde_json::Value>,
    servers: Vec<Server>,
    reporter: Reporter,
}

/// One server that a session is to have.
struct Wish {
    key: Key,
    own: bool,
    definition: Arc<ServerDefinition>,
    /// Whether the operator has it no more.
    gone: bool,
    offer: Option<Offer>,
    shelf: Shelf,
}

impl Registry {
    pub(crate) fn new(catalog: Arc<Catalog>, connect: Arc<dyn Connect>, limits: McpLimits) -> Arc<Self> {
        Arc::new(Self {
            catalog,
            wiring: Arc::new(Wiring {
                connect,
                places: Places::new(limits.max_instances),
                limits,
            }),
            state: Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a session its servers. Starts none of them. Admitting again what was admitted changes nothing.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        id: SessionId,
        grant: &McpGrant,
        ledger: Arc<dyn Ledger>,
    ) -> Result<Vec<Server>> {
        self.admit_as(id, grant, ledger, false).await
    }

    /// The same with the servers as they were published under the plan's artifact, whatever is declared now.
    pub(crate) async fn admit_published(
        self: &Arc<Self>,
        id: SessionId,
        grant: &McpGrant,
        ledger: Arc<dyn Ledger>,
    ) -> Result<Vec<Server>> {
        self.admit_as(id, grant, ledger, true).await
    }

    async fn admit_as(
        self: &Arc<Self>,
        id: SessionId,
        grant: &McpGrant,
        ledger: Arc<dyn Ledger>,
        as_published: bool,
    ) -> Result<Vec<Server>> {
        let known = self.state().sessions.get(&id).cloned();
        if let Some(session) = known {
            if session.plan == grant.plan && session.own == grant.own {
                session.reporter.replace(ledger);
                return Ok(session.servers.clone());
            }
            self.dismiss(&id).await;
        }
        let (catalog, own_grant) = (Arc::clone(&self.catalog), grant.clone());
        let wishes =
            tokio::task::spawn_blocking(move || wishes(&catalog, id, &own_grant, as_published)).await;
        let wishes = wishes.map_err(|error| {
            Error::new(ErrorKind::Internal, OPERATION, "reading what is declared failed").with_source(error)
        })??;
        let servers = self.put(id, grant, ledger, wishes)?;
        Ok(servers)
    }

    fn put(
        self: &Arc<Self>,
        id: SessionId,
        grant: &McpGrant,
        ledger: Arc<dyn Ledger>,
        wishes: Vec<Wish>,
    ) -> Result<Vec<Server>> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION, "the gateway ends"));
        }
        let mut servers = Vec::new();
        for wish in wishes {
            let Wish {
                key,
                own,
                definition,
                gone,
                offer,
                shelf,
            } = wish;
            let wiring = &self.wiring;
            let instance = state.instances.entry(key).or_insert_with_key(|key| {
                Instance::new(
                    (key.name.clone(), key.owner, definition),
                    gone,
                    shelf,
                    offer,
                    wiring,
                )
            });
            let tools = grant.plan.tools.clone();
            // What the session brought is its own to limit.
            let tools = if own { Vec::new() } else { tools };
            servers.push(Server::new(
                id,
                own,
                Arc::clone(instance),
                tools,
                Arc::clone(wiring),
            ));
        }
        let instances: Vec<_> = servers
            .iter()
            .map(|server| Arc::clone(server.instance()))
            .collect();
        let session = Session {
            plan: grant.plan.clone(),
            own: grant.own.clone(),
            reporter: Reporter::new(id, ledger, &instances),
            servers: servers.clone(),
        };
        state.sessions.insert(id, Arc::new(session));
        if state.looking.is_none() {
            state.looking = Some(tokio::spawn(look(Arc::clone(self))));
        }
        Ok(servers)
    }

    /// The servers of a session, as it has them now.
    pub(crate) fn servers(&self, id: &SessionId) -> Option<Vec<Server>> {
        self.state()
            .sessions
            .get(id)
            .map(|session| session.servers.clone())
    }

    /// What was decided about a session.
    pub(crate) fn plan(&self, id: &SessionId) -> Option<McpPlan> {
        self.state().sessions.get(id).map(|session| session.plan.clone())
    }

    /// Forgets a session, and ends what was its alone.
    pub(crate) async fn dismiss(&self, id: &SessionId) {
        let (session, ended) = {
            let mut state = self.state();
            let Some(session) = state.sessions.remove(id) else {
                return;
            };
            let ended: Vec<_> = state
                .instances
                .extract_if(|key, _| key.owner == Some(*id))
                .map(|(_, instance)| instance)
                .collect();
            (session, ended)
        };
        for server in &session.servers {
            server.instance().hub.detach(id);
        }
        session.reporter.end().await;
        join_all(ended.iter().map(|instance| instance.end())).await;
    }

    /// Ends everything, and takes no more sessions.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        let (sessions, instances, looking) = {
            let mut state = self.state();
            state.closed = true;
            let sessions: Vec<_> = state.sessions.drain().map(|(_, session)| session).collect();
            let instances: Vec<_> = state.instances.drain().map(|(_, instance)| instance).collect();
            (sessions, instances, state.looking.take())
        };
        join_all(instances.iter().map(|instance| instance.end())).await;
        join_all(sessions.iter().map(|session| session.reporter.end())).await;
        if let Some(looking) = looking {
            drop(looking.await);
        }
    }

    /// Each declared server, as it is known here: that of an instance that works or fails, if there is one.
    pub(crate) fn declared_status(&self, declared: &Declared) -> Vec<ServerStatus> {
        let status = |(name, definition): (&ServerName, &ServerDefinition)| {
            let of_instances = self.notable(name);
            of_instances.unwrap_or_else(|| on_file(&self.catalog, name, definition))
        };
        declared.servers.iter().map(status).collect()
    }

    /// The status of the instance of a server that says the most.
    fn notable(&self, name: &ServerName) -> Option<ServerStatus> {
        let rank = |state: ServerState| match state {
            ServerState::NeedsLogin => 6,
            ServerState::GaveUp => 5,
            ServerState::Failed => 4,
            ServerState::Ready => 3,
            ServerState::Starting => 2,
            _ => 1,
        };
        let state = self.state();
        // What a session brought before the operator declared the name is another server.
        let told = state
            .instances
            .iter()
            .filter(|(key, instance)| key.name == *name && !state.is_own(instance))
            .map(|(_, instance)| instance.status());
        told.max_by_key(|status| rank(status.state))
    }

    /// Tells instances what the operator's files say now.
    async fn apply(&self, declared: Option<&Declared>, approvals: bool) {
        let instances: Vec<_> = {
            let state = self.state();
            let all = state
                .instances
                .iter()
                .filter(|(_, instance)| !state.is_own(instance));
            all.map(|(key, instance)| (key.clone(), Arc::clone(instance)))
                .collect()
        };
        for (key, instance) in instances {
            if let Some(declared) = declared {
                let now = declared
                    .servers
                    .get(&key.name)
                    .filter(|definition| definition.enabled);
                let definition = match now {
                    None => None,
                    Some(_) if key.published.is_some() => Some(instance.definition()),
                    Some(definition) => Some(Arc::new(definition.clone())),
                };
                instance.tell(Command::Define(definition)).await;
            }
            if approvals {
                instance.tell(Command::Judge).await;
            }
        }
    }
}

/// What a session is to have, with what is known of it. Reads files.
fn wishes(catalog: &Arc<Catalog>, id: SessionId, grant: &McpGrant, as_published: bool) -> Result<Vec<Wish>> {
    let declared = catalog.declared()?;
    let published = if declared.only_published || as_published {
        published(catalog, &grant.plan)?
    } else {
        None
    };
    let mut wishes = Vec::new();
    for name in &grant.plan.servers {
        let current = declared.servers.get(name).filter(|definition| definition.enabled);
        let definition = match &published {
            Some(published) => published.get(name),
            None => current,
        };
        let gone = current.is_none() || definition.is_none();
        let definition = definition.cloned().unwrap_or_else(nothing);
        let key = Key {
            name: name.clone(),
            owner: (definition.sharing == Sharing::PerSession || in_session(&definition)).then_some(id),
            published: published.is_some().then(|| definition.digest()),
        };
        wishes.push(wish(catalog, key, false, definition, gone));
    }
    if let Some(config) = &grant.own {
        for (name, definition) in own::parse(config)? {
            if !grant.plan.own.contains(&name) {
                continue;
            }
            let key = Key {
                name,
                owner: Some(id),
                published: None,
            };
            wishes.push(wish(catalog, key, true, definition, false));
        }
    }
    Ok(wishes)
}

/// What runs in a session runs for that session.
fn in_session(definition: &ServerDefinition) -> bool {
    matches!(definition.transport, Transport::Session { .. })
}

fn wish(catalog: &Arc<Catalog>, key: Key, own: bool, definition: ServerDefinition, gone: bool) -> Wish {
    let shelf = Shelf::new(key.name.clone(), Arc::clone(catalog), own);
    Wish {
        offer: if gone { None } else { shelf.offer(&definition) },
        key,
        own,
        definition: Arc::new(definition),
        gone,
        shelf,
    }
}

/// Where what was published counts: the definitions under which the session was made, if their signature holds.
fn published(catalog: &Catalog, plan: &McpPlan) -> Result<Option<BTreeMap<ServerName, ServerDefinition>>> {
    if plan.servers.is_empty() {
        return Ok(None);
    }
    let Some(artifact) = &plan.artifact else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the session was made under a configuration that was not published",
        )
        .with_hint("publish the profile with `cofferdam mcp publish` and make a new session"));
    };
    let artifact = catalog.artifact(&artifact.parse()?)?;
    Ok(Some(catalog.verify(&artifact)?.configuration.servers))
}

/// Stands for a server of which nothing is declared any more. It is never started.
fn nothing() -> ServerDefinition {
    let mut nothing = ServerDefinition::new(Transport::Stdio {
        command: String::new(),
        args: Vec::new(),
        env: BTreeMap::new(),
        cwd: None,
    });
    nothing.enabled = false;
    nothing
}

/// A server that nobody uses here.
fn on_file(catalog: &Arc<Catalog>, name: &ServerName, definition: &ServerDefinition) -> ServerStatus {
    let offer = Shelf::new(name.clone(), Arc::clone(catalog), false).look(definition);
    let mut told = status(name, offer.as_ref());
    if !definition.enabled {
        told.state = ServerState::Removed;
        told.reason = Some("it is switched off".to_owned());
    }
    told
}

/// Looks at the operator's files while there are sessions, until the gateway ends.
async fn look(registry: Arc<Registry>) {
    let mut seen = Seen::default();
    loop {
        // Both arms may be dropped: nothing was begun.
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = registry.stop.cancelled() => return,
        }
        if registry.state().sessions.is_empty() {
            continue;
        }
        let catalog = Arc::clone(&registry.catalog);
        let read = tokio::task::spawn_blocking(move || (catalog.declared(), catalog.approvals_stamp())).await;
        let Ok((declared, stamp)) = read else { continue };
        let declared = match declared {
            Ok(declared) => seen.declared(declared),
            Err(error) => {
                seen.complain(&error);
                None
            }
        };
        let approvals = stamp.is_ok_and(|stamp| seen.approvals(stamp));
        if declared.is_some() || approvals {
            registry.apply(declared.as_deref(), approvals).await;
        }
    }
}

/// What the files said last. At first everything is news: they may have changed since the session was admitted.
#[derive(Default)]
struct Seen {
    declared: Option<Arc<Declared>>,
    approvals: Option<u64>,
    complained: bool,
}

impl Seen {
    fn declared(&mut self, now: Arc<Declared>) -> Option<Arc<Declared>> {
        self.complained = false;
        let same = |before: &Arc<Declared>| Arc::ptr_eq(before, &now) || **before == *now;
        if self.declared.as_ref().is_some_and(same) {
            return None;
        }
        self.declared = Some(Arc::clone(&now));
        Some(now)
    }

    fn approvals(&mut self, now: u64) -> bool {
        self.approvals.replace(now) != Some(now)
    }

    /// A file that is being written, or wrong: what held before holds.
    fn complain(&mut self, error: &Error) {
        if !self.complained {
            self.complained = true;
            tracing::warn!(%error, "the declared MCP servers cannot be read; what was declared before holds");
        }
    }
}
