//! What every handler can reach.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http_api::{ServerInfo, SurfaceCode};
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::body::Scales;
use crate::connection::Open;
use crate::metrics::Metrics;
use crate::options::HttpOptions;
use crate::problem::Failure;
use crate::tokens::TokenFile;

/// What the surface has to know about the process that serves it, and may ask of it.
#[async_trait]
pub trait ServerControl: Send + Sync {
    /// What the server says of itself.
    fn info(&self) -> ServerInfo;

    /// Asks the server to end in good order. Returns at once.
    fn stop(&self);

    /// Whether it can work: its store can be read and its engine answers.
    ///
    /// # Errors
    /// What is in the way.
    async fn ready(&self) -> Result<()>;
}

/// The requests that are under way, and whether there will be others.
#[derive(Debug, Default)]
pub(crate) struct Attendance(Mutex<Attending>);

#[derive(Debug, Default)]
struct Attending {
    requests: usize,
    ending: bool,
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Visit(AppState);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.attendance().lock().requests -= 1;
    }
}

impl Attendance {
    fn lock(&self) -> MutexGuard<'_, Attending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

struct Shared {
    api: Arc<dyn SessionApi>,
    options: HttpOptions,
    control: Arc<dyn ServerControl>,
    metrics: Metrics,
    scales: Arc<Scales>,
    tasks: TaskTracker,
    closing: CancellationToken,
    open: Arc<Open>,
    attendance: Attendance,
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppState")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl AppState {
    pub(crate) fn new(
        api: Arc<dyn SessionApi>,
        options: HttpOptions,
        control: Arc<dyn ServerControl>,
    ) -> Self {
        Self(Arc::new(Shared {
            api,
            scales: Scales::new(&options),
            options,
            control,
            metrics: Metrics::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            open: Arc::default(),
            attendance: Attendance::default(),
        }))
    }

    /// The whole API, as nobody in particular. Handlers want [`crate::caller::Api`], which knows who asks.
    pub fn whole_api(&self) -> &Arc<dyn SessionApi> {
        &self.0.api
    }

    /// The directories of the host that tokens below the scope `admin` may hand to sessions are below this one.
    pub(crate) fn projects(&self) -> Option<PathBuf> {
        let compat = self.options().compat.as_ref()?;
        Some(compat.projects_dir.clone())
    }

    /// Settings.
    pub fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    /// The process that serves.
    pub fn control(&self) -> &Arc<dyn ServerControl> {
        &self.0.control
    }

    /// Where tokens are kept. Its methods work on files: call them through [`AppState::blocking`].
    ///
    /// # Errors
    /// 501 when this server keeps none.
    pub fn tokens(&self) -> Result<TokenFile, Failure> {
        self.0
            .options
            .tokens
            .clone()
            .ok_or_else(|| crate::scoped::unsupported("manage tokens", "this server keeps no tokens").into())
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// What requests hold that are being read.
    pub(crate) fn scales(&self) -> &Arc<Scales> {
        &self.0.scales
    }

    /// Fires when the server ends: what streams without an end of its own shall end then. A body that is
    /// `text/event-stream` ends without its handler's doing.
    pub fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// The connections.
    pub(crate) fn open(&self) -> &Arc<Open> {
        &self.0.open
    }

    fn attendance(&self) -> &Attendance {
        &self.0.attendance
    }

    /// A request begins; `None` when the server has decided to end.
    pub(crate) fn enter(&self) -> Option<Visit> {
        let mut attending = self.attendance().lock();
        if attending.ending {
            return None;
        }
        attending.requests += 1;
        Some(Visit(self.clone()))
    }

    /// Asks the process to end, when nothing is under way but the one request that wants it. Decided while no other request
    /// can begin; those that come later are refused before anything is done for them.
    ///
    /// # Errors
    /// `Busy`.
    pub(crate) fn stop_if_idle(&self) -> Result<()> {
        let mut attending = self.attendance().lock();
        if attending.requests > 1 || self.0.open.streams() > 0 || self.0.control.info().working {
            return Err(Error::new(
                ErrorKind::Busy,
                "stop the server",
                "it has work under way",
            ));
        }
        attending.ending = true;
        self.0.control.stop();
        Ok(())
    }

    /// What runs beside requests; the server's end waits for it.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Runs `work` to its end, whatever becomes of the connection that asked for it, and answers what came of it. For
    /// everything that changes something.
    ///
    /// # Errors
    /// What `work` fails with; 500 when it panics.
    pub async fn detached<T, E, F>(&self, work: F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let running = self.0.tasks.spawn(work.in_current_span());
        match running.await {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(_) => Err(defect()),
        }
    }

    /// Runs what waits for files on a thread that may wait.
    ///
    /// # Errors
    /// What `work` fails with; 500 when it panics.
    pub async fn blocking<T, F>(&self, work: F) -> Result<T, Failure>
    where
        F: FnOnce() -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let span = tracing::Span::current();
        match self.0.tasks.spawn_blocking(move || span.in_scope(work)).await {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(_) => Err(defect()),
        }
    }
}

fn defect() -> Failure {
    Failure::new(SurfaceCode::Internal, "the server failed at this request")
}
