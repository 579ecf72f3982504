//! The decorators around a runtime: time limits, tracing and error context, stacked in one place.
//!
//! A backend repeats none of this. Retries belong to the callers that know whether an operation is idempotent: here
//! only the reads are repeated, because repeating them cannot change anything.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use futures::stream::BoxStream;
use jiff::Timestamp;

use super::{
    BoxedByteStream, Capability, ContainerEvent, ContainerRuntime, ContainerSpec, ContainerStatus,
    OwnedResource, PreparedImage, Progress, RuntimeHealth, UserIds,
};
use crate::error::{Error, ErrorKind, Result};
use crate::garbage::Garbage;
use crate::id::{ContainerId, ContainerName, ImageRef};
use crate::label::OwnerId;

/// How long each kind of call may take before it counts as hung.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// Reads: probe, inspect, list, diagnostics, opening a watch.
    pub read: Duration,
    /// Changes to one container: launch, start, pause, resume, rename, discard, remove, bridge.
    pub change: Duration,
    /// Preparing an image, which may fetch gigabytes.
    pub prepare: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(10),
            change: Duration::from_secs(60),
            prepare: Duration::from_secs(30 * 60),
        }
    }
}

/// A runtime whose every call is bounded in time, traced, and explains where it failed.
#[derive(Debug, Clone)]
pub struct Guarded {
    inner: Arc<dyn ContainerRuntime>,
    limits: TimeLimits,
}

impl Guarded {
    /// Puts the decorators around `inner`.
    pub fn new(inner: Arc<dyn ContainerRuntime>, limits: TimeLimits) -> Self {
        Self { inner, limits }
    }

    async fn bounded<T>(
        &self,
        call: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let started = tokio::time::Instant::now();
        let outcome = match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(
                ErrorKind::EngineTimeout,
                call,
                "the engine did not answer in time",
            )
            .with_context("limit_ms", limit.as_millis())
            .with_hint("see whether the engine is alive: cofferdam doctor")),
        };
        let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        match &outcome {
            Ok(_) => tracing::debug!(runtime = self.inner.name(), call, elapsed_us, "runtime call"),
            Err(error) => {
                tracing::debug!(runtime = self.inner.name(), call, elapsed_us, code = error.kind().code(), %error, "runtime call failed");
            }
        }
        outcome.map_err(|error| error.with_context("runtime", self.inner.name()))
    }

    /// Reads are repeated twice when the failure says that a retry can help and that it came quickly.
    async fn read<T, F>(&self, call: &'static str, work: impl FnMut() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let policy = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(20))
            .with_max_times(2);
        let retried = work
            .retry(policy)
            .when(|error: &Error| error.kind() == ErrorKind::EngineFailed && error.is_retryable());
        self.bounded(call, self.limits.read, retried).await
    }
}

#[async_trait]
impl ContainerRuntime for Guarded {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn probe(&self) -> Result<RuntimeHealth> {
        self.bounded(
            "ask the engine for its health",
            self.limits.read,
            self.inner.probe(),
        )
        .await
    }

    async fn started_at(&self) -> Result<Option<Timestamp>> {
        self.read("ask since when the engine runs", || self.inner.started_at())
            .await
    }

    async fn prepare(
        &self,
        image: &ImageRef,
        user: UserIds,
        progress: &dyn Progress,
    ) -> Result<PreparedImage> {
        self.bounded(
            "prepare the image",
            self.limits.prepare,
            self.inner.prepare(image, user, progress),
        )
        .await
    }

    async fn launch(&self, spec: &ContainerSpec, image: &PreparedImage) -> Result<ContainerId> {
        self.bounded(
            "launch the container",
            self.limits.change,
            self.inner.launch(spec, image),
        )
        .await
    }

    async fn start(&self, container: &ContainerName) -> Result<()> {
        self.bounded(
            "start the container again",
            self.limits.change,
            self.inner.start(container),
        )
        .await
    }

    async fn discard(&self, container: &ContainerName) -> Result<()> {
        self.bounded(
            "remove the container without its storage",
            self.limits.change,
            self.inner.discard(container),
        )
        .await
    }

    async fn has_workspace(&self, container: &ContainerName) -> Result<bool> {
        self.read("look for the workspace", || self.inner.has_workspace(container))
            .await
    }

    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<()> {
        self.bounded(
            "give the container its name back",
            self.limits.change,
            self.inner.rename(id, name),
        )
        .await
    }

    async fn bridge(&self, container: &ContainerName) -> Result<BoxedByteStream> {
        self.bounded(
            "open a bridge to the container",
            self.limits.change,
            self.inner.bridge(container),
        )
        .await
    }

    async fn inspect(&self, container: &ContainerName) -> Result<ContainerStatus> {
        self.read("inspect the container", || self.inner.inspect(container))
            .await
    }

    async fn list(&self, owner: &OwnerId) -> Result<Vec<OwnedResource>> {
        self.read("list containers", || self.inner.list(owner)).await
    }

    async fn pause(&self, container: &ContainerName) -> Result<()> {
        self.bounded(
            "pause the container",
            self.limits.change,
            self.inner.pause(container),
        )
        .await
    }

    async fn resume(&self, container: &ContainerName) -> Result<()> {
        self.bounded(
            "resume the container",
            self.limits.change,
            self.inner.resume(container),
        )
        .await
    }

    async fn remove(&self, container: &ContainerName) -> Result<()> {
        self.bounded(
            "remove the container",
            self.limits.change,
            self.inner.remove(container),
        )
        .await
    }

    async fn watch(&self, owner: &OwnerId) -> Result<BoxStream<'static, Result<ContainerEvent>>> {
        self.bounded("watch containers", self.limits.read, self.inner.watch(owner))
            .await
    }

    async fn stale(&self, wanted: &[(ImageRef, UserIds)], unused: Duration) -> Result<Vec<Garbage>> {
        self.read("look for what is stale", || self.inner.stale(wanted, unused))
            .await
    }

    async fn remove_stale(&self, thing: &Garbage) -> Result<bool> {
        self.bounded(
            "remove what is stale",
            self.limits.change,
            self.inner.remove_stale(thing),
        )
        .await
    }

    async fn diagnostics(&self, container: &ContainerName, limit: usize) -> Result<String> {
        self.read("read what PID 1 wrote", || {
            self.inner.diagnostics(container, limit)
        })
        .await
    }
}
