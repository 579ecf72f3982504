//! One session's endpoint, apart from how it is spoken to: the servers that the session has, and what is known of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rmcp::model::{ErrorData, ServerCapabilities};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::catalog::{Catalog, Part};
use super::held::HeldCalls;
use super::levels::Levels;
use super::names::{self, Scope};
use super::relay::Relay;
use super::subscriptions::Subscriptions;
use super::upstream::Upstream;
use super::{DoorOptions, View};
use crate::mcp::call::CallError;

/// What is done at once for sessions beside their calls.
const ERRANDS: usize = 8;

/// See the module. Shared by all connections of the session.
pub(super) struct Core {
    /// In the order of their names.
    pub(super) servers: Vec<Arc<dyn Upstream>>,
    pub(super) options: DoorOptions,
    pub(super) relay: Relay,
    pub(super) held: HeldCalls,
    pub(super) levels: Levels,
    pub(super) subscriptions: Subscriptions,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) version: String,
    sweeping: AtomicBool,
    scope: Scope,
    search: Search,
    calls: Arc<Semaphore>,
    errands: Arc<Semaphore>,
    catalog: Mutex<Arc<Catalog>>,
    fetches: Mutex<HashMap<usize, watch::Receiver<bool>>>,
    /// Of each server: whether a list was answered without it.
    missed: Vec<AtomicBool>,
}

/// When tools are found by searching.
#[derive(Debug, Clone, Copy)]
struct Search {
    always: bool,
    above: usize,
}

impl Core {
    pub(super) fn new(view: View, options: DoorOptions) -> Arc<Self> {
        let mut servers = view.servers;
        servers.sort_by(|left, right| left.name().cmp(right.name()));
        servers.dedup_by(|right, left| left.name() == right.name());
        let missed = servers.iter().map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self {
            relay: Relay::new(),
            held: HeldCalls::new(options.hold),
            levels: Levels::default(),
            subscriptions: Subscriptions::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            version: view.version,
            sweeping: AtomicBool::new(false),
            scope: Scope::new(view.tools),
            search: Search {
                always: view.search,
                above: view.search_above,
            },
            calls: Arc::new(Semaphore::new(options.max_calls)),
            errands: Arc::new(Semaphore::new(ERRANDS)),
            catalog: Mutex::default(),
            fetches: Mutex::default(),
            missed,
            servers,
            options,
        })
    }

    /// A place among the calls of the session that are under way.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.calls.clone().try_acquire_owned().ok()
    }

    /// A place for what has to be done after the session's calls, however many of these are under way. Waits for it.
    pub(super) async fn errand(&self) -> Option<OwnedSemaphorePermit> {
        self.errands.clone().acquire_owned().await.ok()
    }

    /// One of the servers.
    pub(super) fn server(&self, at: usize) -> Result<(usize, Arc<dyn Upstream>), ErrorData> {
        let server = self.servers.get(at).cloned();
        let server = server.ok_or_else(|| ErrorData::internal_error("there is no such server", None))?;
        Ok((at, server))
    }

    /// A server by its name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        let found = self
            .servers
            .binary_search_by(|server| server.name().as_str().cmp(name));
        found.ok()
    }

    /// Whether a full name is one that the session may not use, whatever its server has.
    pub(super) fn is_filtered(&self, name: &str) -> bool {
        let Some((server, tool)) = names::split(name) else {
            return false;
        };
        let server = self.named(server).and_then(|at| self.servers.get(at));
        server.is_some_and(|server| {
            !self
                .scope
                .admits(server.name(), &server.definition(), server.is_own(), tool)
        })
    }

    /// What is known of all servers now. Asks none.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        let mut kept = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_of(&self.servers) {
            let parts: Vec<Part<'_>> = self
                .servers
                .iter()
                .map(|server| Part {
                    name: server.name(),
                    definition: server.definition(),
                    is_own: server.is_own(),
                    offer: server.offer_if_known(),
                })
                .collect();
            *kept = Arc::new(Catalog::build(&parts, &self.scope));
        }
        kept.clone()
    }

    /// What is known of all servers after those that were not asked yet had some time to answer. Who does not in time is
    /// left out, once and for all: whoever listens is told when it has answered.
    pub(super) async fn settled(self: &Arc<Self>) -> Arc<Catalog> {
        let now = self.catalog();
        if now.is_complete() {
            return now;
        }
        let unknown: Vec<usize> = (0..self.servers.len())
            .filter(|at| self.servers[*at].offer_if_known().is_none())
            .collect();
        // All are asked; those that were too slow before are not waited for again.
        let fetches: Vec<_> = unknown
            .iter()
            .map(|at| (*at, self.fetch(*at)))
            .filter(|(at, _)| !self.missed[*at].load(Ordering::Acquire))
            .collect();
        let all = join_all(fetches.into_iter().map(|(_, mut done)| async move {
            // An error says that the task is gone, which is an end, too.
            let _ = done.wait_for(|done| *done).await;
        }));
        let _ = tokio::time::timeout(self.options.list_patience, all).await;
        for at in unknown {
            if self.servers[at].offer_if_known().is_none() {
                self.missed[at].store(true, Ordering::Release);
            }
        }
        self.catalog()
    }

    /// Waits until one server has said what it offers, for somebody who may take the request back.
    ///
    /// # Errors
    /// Why it does not say.
    pub(super) async fn offered(&self, at: usize, taken_back: &CancellationToken) -> Result<(), CallError> {
        let Some(server) = self.servers.get(at) else {
            return Ok(());
        };
        if server.offer_if_known().is_some() {
            return Ok(());
        }
        // Both arms only wait; a server that is being started is started on.
        tokio::select! {
            offered = server.offer() => offered.map(drop),
            () = taken_back.cancelled() => Err(CallError::Cancelled),
        }
    }

    /// Asks a server what it offers, unless it is being asked.
    fn fetch(self: &Arc<Self>, at: usize) -> watch::Receiver<bool> {
        let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = fetches.get(&at).filter(|done| !*done.borrow()) {
            return done.clone();
        }
        let (tell, done) = watch::channel(false);
        fetches.insert(at, done.clone());
        let core = self.clone();
        self.tasks.spawn(async move {
            // Both arms only wait; what was asked is the server's to end.
            tokio::select! {
                () = core.ask(at) => {}
                () = core.stop.cancelled() => {}
            }
            tell.send_replace(true);
        });
        done
    }

    async fn ask(&self, at: usize) {
        let Some(server) = self.servers.get(at) else {
            return;
        };
        match server.offer().await {
            Ok(_) => {
                if self.missed[at].swap(false, Ordering::AcqRel) {
                    self.relay.tell_of_offer();
                }
            }
            Err(error) => {
                tracing::debug!(server = %server.name(), %error, "a server does not say what it offers");
            }
        }
    }

    /// Whether the session finds its tools by searching.
    pub(super) fn searches(&self, catalog: &Catalog) -> bool {
        self.search.always || catalog.tools.len() > self.search.above
    }

    /// What all servers can, together. Of those that are not known yet, the usual is expected.
    pub(super) fn capabilities(&self) -> ServerCapabilities {
        let catalog = self.catalog();
        let unknown = !catalog.is_complete();
        let any = |has: fn(&ServerCapabilities) -> bool| {
            unknown || catalog.known().any(|offer| has(&offer.capabilities))
        };
        let mut capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        if any(|can| can.prompts.is_some()) {
            let mut prompts = rmcp::model::PromptsCapability::default();
            prompts.list_changed = Some(true);
            capabilities.prompts = Some(prompts);
        }
        if any(|can| can.resources.is_some()) {
            let mut resources = rmcp::model::ResourcesCapability::default();
            resources.list_changed = Some(true);
            let subscribes = |can: &ServerCapabilities| {
                can.resources
                    .as_ref()
                    .is_some_and(|can| can.subscribe == Some(true))
            };
            resources.subscribe = any(subscribes).then_some(true);
            capabilities.resources = Some(resources);
        }
        if any(|can| can.completions.is_some()) {
            capabilities.completions = Some(rmcp::model::JsonObject::new());
        }
        if any(|can| can.logging.is_some()) {
            capabilities.logging = Some(rmcp::model::JsonObject::new());
        }
        capabilities
    }

    /// Sees to it that requests that wait too long are taken back.
    pub(super) fn keep_swept(self: &Arc<Self>) {
        if self.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = self.clone();
        self.tasks.spawn(async move {
            loop {
                // Both arms only wait.
                tokio::select! {
                    () = tokio::time::sleep(core.held.pace()) => {}
                    () = core.stop.cancelled() => return,
                }
                if !core.held.sweep() {
                    core.sweeping.store(false, Ordering::Release);
                    // What came in between would be nobody's.
                    if !core.held.sweep() || core.sweeping.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        });
    }

    /// Ends whatever is under way.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.held.clear();
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(10), self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("calls of a session did not end in time");
        }
    }
}
