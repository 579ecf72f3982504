//! How a session is made: image, directory, container and link, then the workspace.
//!
//! The record says `Creating` before anything is made, and the session's agent lock is held until it says `Ready` or
//! `Failed`: a reconciler that can take the lock of a `Creating` session knows that its maker died, and cleans up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::gateway::ProviderAccount;
use crate::id::ImageRef;
use crate::link_error::from_link;
use crate::policy::mounts::{JudgedDir, judge_again};
use crate::runtime::{
    BoxedByteStream, ContainerRuntime, ContainerSpec, PreparedImage, Progress, Storage, WorkspaceVolume,
};
use crate::session::{Carrier, SessionInfo, WorkspaceSource};
use crate::state::{SessionState, Transition};
use crate::state_dir::AgentLock;
use crate::store::{Batch, SessionRecord};
use crate::transfer::{PackOptions, pack_judged};

use super::Driver;
use super::inbox::Inbox;
use futures::StreamExt;
use session_link::{CopyInOptions, LinkListener};
use tokio::sync::mpsc;

/// What it takes to launch a session that is recorded already.
pub(crate) struct LaunchPlan {
    pub(crate) info: SessionInfo,
    /// Start the agent at once.
    pub(crate) warm_agent: bool,
    pub(crate) account: Option<ProviderAccount>,
    /// What is brought back into its workspace.
    pub(crate) restore: Option<Checkpoint>,
    /// What it is given of the host, as it was judged.
    pub(crate) places: Vec<JudgedDir>,
}

/// Progress of an image's preparation, on its way into the session's events. Messages that come faster than they can be
/// stored are dropped: each replaces the one before.
struct ProgressQueue(mpsc::Sender<String>);

impl Progress for ProgressQueue {
    fn update(&self, message: &str) {
        let _ = self.0.try_send(message.to_owned());
    }
}

impl Driver {
    pub(super) async fn create(&mut self, plan: LaunchPlan, inbox: &mut Inbox) -> Result<()> {
        let lock = self.right_to_create().await.inspect_err(|_| self.ended = true)?;
        fail::fail_point!("driver.create.locked");
        self.account = plan.account.clone();
        // Somebody ends it before it is ready, and goes on doing so when what there is of it is removed.
        let mut is_destroyed = false;
        let filled = match self.launch(&plan).await {
            Ok(record) => tokio::select! {
                biased;
                // What a container that somebody froze does not take would be waited for without an end.
                () = inbox.end_asked() => {
                    is_destroyed = true;
                    Err(destroyed_meanwhile())
                }
                filled = self.fill(&record, plan.restore.as_ref()) => filled,
            },
            Err(error) => Err(error),
        };
        let outcome = match filled {
            Ok(()) => {
                let batch = Batch {
                    container_id: self.launched.take().map(String::from),
                    boot_id: self.boot_id(),
                    ..Batch::default()
                };
                self.transition_with(Transition::Launched, batch).await.map(drop)
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                fail::fail_point!("driver.create.after");
                drop(lock);
                if plan.warm_agent
                    && let Err(error) = self.warm().await
                {
                    // The session is there, and the first prompt tries again.
                    let error = error.report();
                    self.log(EventKind::Problem { error }).await;
                }
                Ok(())
            }
            Err(error) => {
                self.clean_up_failed(&error).await;
                drop(lock);
                self.ended = !is_destroyed;
                Err(error.with_context("session", self.id))
            }
        }
    }

    /// Held by nobody else as long as it is made. Whoever came before has taken it for abandoned, and cleans up after it.
    async fn right_to_create(&self) -> Result<AgentLock> {
        let abandoned = || {
            let message = "it was taken for abandoned before it was made";
            Error::new(ErrorKind::Busy, "create the session", message)
                .with_context("session", self.id)
                .with_retryable(true)
                .with_hint("try again; a request with a key needs another one")
        };
        let lock = self.foundation.state_dir.try_lock_agent(&self.id)?;
        let lock = lock.ok_or_else(abandoned)?;
        match self.record().await?.info.state {
            SessionState::Creating => Ok(lock),
            _ => Err(abandoned()),
        }
    }

    /// Its container runs, and the link to it is up.
    async fn launch(&mut self, plan: &LaunchPlan) -> Result<SessionRecord> {
        let info = &plan.info;
        // Whatever the gateway cannot do for it is said before anything is made.
        let record = self.record().await?;
        self.admit(&record).await?;
        fail::fail_point!("driver.image.before", |_| crate::fault::engine(
            "create the session"
        ));
        let image = self.prepare(&info.image, info).await?;
        fail::fail_point!("driver.image.after", |_| crate::fault::engine(
            "create the session"
        ));
        let listener = self.listen()?;
        let spec = self.container_spec(info, listener.is_some(), Storage::Fresh)?;
        fail::fail_point!("driver.launch.before", |_| crate::fault::engine(
            "create the session"
        ));
        let runtime = self.foundation.runtime.clone();
        let launching = async move { runtime.launch(&spec, &image).await };
        let launched = self.begin_and_link(launching, listener).await?;
        // The engine resolved the paths again when it mounted them: they must still be what was judged.
        plan.places.iter().try_for_each(JudgedDir::verify_unmoved)?;
        fail::fail_point!("driver.launch.after", |_| crate::fault::engine(
            "create the session"
        ));
        self.launched = Some(launched);
        Ok(record)
    }

    /// What it is to have inside.
    async fn fill(&mut self, record: &SessionRecord, restore: Option<&Checkpoint>) -> Result<()> {
        self.put_certificates(&record.info).await?;
        fail::fail_point!("driver.workspace.before", |_| crate::fault::link(
            "create the session"
        ));
        self.fill_workspace(record).await?;
        fail::fail_point!("driver.workspace.filled", |_| crate::fault::link(
            "create the session"
        ));
        self.base_of_filled_workspace(&record.info.workspace).await;
        match restore {
            Some(checkpoint) => self.restore_into_new(checkpoint).await,
            None => Ok(()),
        }
    }

    /// Has the engine begin something of which PID 1 comes, and makes the link to it.
    pub(super) async fn begin_and_link<T: Send>(
        &mut self,
        beginning: impl Future<Output = Result<T>> + Send,
        listener: Option<LinkListener>,
    ) -> Result<T> {
        let (begun, io, carrier) = match &listener {
            Some(listener) => self.begin_and_accept(beginning, listener).await?,
            None => {
                let begun = beginning.await?;
                let io = self.foundation.runtime.bridge(&self.container).await?;
                (begun, io, Carrier::Bridge)
            }
        };
        self.establish(io, carrier).await?;
        Ok(begun)
    }

    /// `session-init` dials while the engine is still busy answering, so both are awaited at once. The launch is always
    /// seen to its end: a container must not appear after a failure was reported.
    async fn begin_and_accept<T: Send>(
        &self,
        beginning: impl Future<Output = Result<T>> + Send,
        listener: &LinkListener,
    ) -> Result<(T, BoxedByteStream, Carrier)> {
        tokio::pin!(beginning);
        // Cancelling `accept` leaves the connection in the socket's queue.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            begun = &mut beginning => {
                let begun = begun?;
                let (io, carrier) = self.dialled(listener).await?;
                return Ok((begun, io, carrier));
            }
        };
        let begun = beginning.await?;
        let io = accepted.map_err(|error| from_link("accept the session's link", error))?;
        Ok((begun, Box::new(io), Carrier::Socket))
    }

    pub(super) async fn prepare(&self, image: &ImageRef, info: &SessionInfo) -> Result<PreparedImage> {
        let (progress, mut messages) = mpsc::channel(8);
        let progress = ProgressQueue(progress);
        let runtime: Arc<dyn ContainerRuntime> = self.foundation.runtime.clone();
        let preparing = runtime.prepare(image, info.user, &progress);
        tokio::pin!(preparing);
        loop {
            tokio::select! {
                prepared = &mut preparing => return prepared,
                // `recv` is cancel safe; a message that is not logged is replaced by the next.
                Some(message) = messages.recv() => self.log(EventKind::Progress { message }).await,
            }
        }
    }

    pub(super) fn container_spec(
        &self,
        info: &SessionInfo,
        socket: bool,
        storage: Storage,
    ) -> Result<ContainerSpec> {
        let workspace = match &info.workspace {
            WorkspaceSource::Mount { path } => WorkspaceVolume::Host {
                path: path.clone(),
                read_only: false,
            },
            WorkspaceSource::Empty | WorkspaceSource::Copy { .. } | WorkspaceSource::Clone { .. } => {
                WorkspaceVolume::Scratch
            }
        };
        let link_dir: Option<PathBuf> = socket
            .then(|| self.foundation.state_dir.create_link_dir(&self.id))
            .transpose()?;
        Ok(ContainerSpec {
            name: self.container.clone(),
            session: self.id,
            labels: self.foundation.signer.labels(&self.id),
            user: info.user,
            network: info.network,
            limits: info.limits,
            workspace,
            storage,
            mounts: info.mounts.clone(),
            link_dir,
        })
    }

    pub(super) async fn fill_workspace(&mut self, record: &SessionRecord) -> Result<()> {
        match &record.info.workspace {
            WorkspaceSource::Empty | WorkspaceSource::Mount { .. } => Ok(()),
            WorkspaceSource::Copy { path } => self.copy_workspace(path).await,
            WorkspaceSource::Clone { url, reference } => {
                self.clone_workspace(record, url, reference.as_deref()).await
            }
        }
    }

    async fn copy_workspace(&self, path: &Path) -> Result<()> {
        self.log(EventKind::Progress {
            message: format!("copying {}", path.display()),
        })
        .await;
        let judged = judge_again(path, &self.foundation.host)?;
        let archive = pack_judged(
            &judged,
            PackOptions {
                respect_gitignore: true,
                as_contents: true,
            },
        );
        let report = send_archive(
            self.live_link()?,
            ContainerSpec::WORKSPACE_DIR,
            archive,
            "copy the workspace",
        )
        .await?;
        judged.verify_unmoved()?;
        self.log(EventKind::FilesCopied {
            inward: true,
            path: ContainerSpec::WORKSPACE_DIR.to_owned(),
            bytes: report.bytes,
            entries: report.entries,
        })
        .await;
        Ok(())
    }

    pub(super) fn live_link(&self) -> Result<&session_link::Link> {
        self.connection
            .as_ref()
            .map(|connection| &connection.link)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::LinkLost,
                    "fill the workspace",
                    "the link closed before the workspace was filled",
                )
            })
    }

    async fn clean_up_failed(&mut self, error: &Error) {
        fail::fail_point!("driver.cleanup.before");
        self.drop_connection();
        self.dismiss().await;
        if let Err(left) = self.foundation.runtime.remove(&self.container).await {
            tracing::warn!(session = %self.id, error = %left, "a container that failed to start was not removed; the reconciler will");
        }
        fail::fail_point!("driver.cleanup.removed");
        // Whoever repeats the request with its key is told the same.
        let report = error.report();
        self.log(EventKind::Problem { error: report }).await;
        fail::fail_point!("driver.cleanup.told");
        let cause = error.to_string();
        if let Err(unsaid) = self.transition(Transition::LaunchFailed { cause }).await {
            tracing::warn!(session = %self.id, error = %unsaid, "the failure could not be recorded");
        }
        if let Err(left) = self.foundation.state_dir.remove_session_dir(&self.id) {
            tracing::warn!(session = %self.id, error = %left, "the session's directory was not removed");
        }
    }
}

fn destroyed_meanwhile() -> Error {
    let message = "somebody destroyed it before it was ready";
    Error::new(ErrorKind::Cancelled, "create the session", message).with_hint("create a new one")
}

/// Streams an archive to `dest` inside.
pub(crate) async fn send_archive(
    link: &session_link::Link,
    dest: &str,
    mut archive: crate::api::ArchiveStream,
    operation: &'static str,
) -> Result<crate::session::CopyReport> {
    let mut copy = link
        .copy_in(dest, CopyInOptions::default())
        .await
        .map_err(|error| from_link(operation, error))?;
    while let Some(chunk) = archive.next().await {
        // Dropping `copy` on an error aborts it on the other side.
        copy.write(chunk?)
            .await
            .map_err(|error| from_link(operation, error))?;
    }
    fail::fail_point!("driver.archive.sent", |_| crate::fault::link(operation));
    let report = copy.finish().await.map_err(|error| from_link(operation, error))?;
    Ok(crate::session::CopyReport {
        entries: report.files + report.directories + report.symlinks,
        bytes: report.bytes,
    })
}
