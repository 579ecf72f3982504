//! What all connections and tools of one server share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use session_core::api::SessionApi;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::book::Book;
use crate::configuration::Configuration;
use crate::keeper::Keeper;
use crate::options::{McpOptions, Toolset};
use crate::tools::{self, Entry};
use crate::watch::Changes;

/// See the module.
pub(crate) struct Core {
    pub(crate) api: Arc<dyn SessionApi>,
    pub(crate) options: McpOptions,
    pub(crate) keeper: Keeper,
    /// The operator's MCP servers, when they are known here.
    pub(crate) configuration: Option<Configuration>,
    /// What clients can call, by name.
    pub(crate) tools: BTreeMap<&'static str, Arc<Entry>>,
    /// Output of commands, to be paged through.
    pub(crate) book: Book,
    /// That the list of sessions changed.
    pub(crate) changes: Changes,
    /// Owns everything that runs beside a request; the server's end waits for it.
    pub(crate) tasks: TaskTracker,
    /// The server ends.
    pub(crate) stop: CancellationToken,
    /// The only client of a stdio server closed its end: nobody hears what is said unasked, while answers may be on their way.
    pub(crate) unheard: CancellationToken,
    /// Tool calls that may still begin.
    pub(crate) calls: Arc<Semaphore>,
    started: AtomicBool,
}

impl Core {
    pub(crate) fn new(
        api: Arc<dyn SessionApi>,
        options: McpOptions,
        keeper: Keeper,
        configuration: Option<Configuration>,
    ) -> Arc<Self> {
        Arc::new(Self {
            api,
            keeper,
            tools: tools::offered(&options, configuration.as_ref()),
            configuration,
            book: Book::new(options.kept_output),
            changes: Changes::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            unheard: CancellationToken::new(),
            calls: Arc::new(Semaphore::new(options.max_calls)),
            started: AtomicBool::new(false),
            options,
        })
    }

    /// Whether clients have to do with sessions at all.
    pub(crate) fn serves_sessions(&self) -> bool {
        self.options.toolsets.contains(&Toolset::Sessions)
    }

    /// Whether there are tools that read and write files of this host.
    pub(crate) fn reaches_host(&self) -> bool {
        self.serves_sessions() && self.options.host.is_some()
    }

    /// Whether there are tools about the configuration of MCP servers.
    pub(crate) fn serves_configuration(&self) -> bool {
        self.options.toolsets.contains(&Toolset::Configuration) && self.configuration.is_some()
    }

    /// Starts what runs beside requests, once.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.serves_sessions() && !self.started.swap(true, Ordering::Relaxed) {
            self.tasks.spawn(crate::watch::watch(self.clone()));
            self.tasks.spawn(crate::reaper::reap(self.clone()));
        }
    }

    /// Ends what waits for somebody and waits for what must be brought to its end, cleaning up above all.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(self.options.shutdown_grace, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = self.tasks.len(),
                "some work did not come to its end in time"
            );
        }
    }
}
