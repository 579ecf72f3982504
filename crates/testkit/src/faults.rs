//! A runtime that fails on purpose: every operation, at every call, before or after its work, reproducibly.
//!
//! ```
//! use std::sync::Arc;
//! use testkit::faults::{Fault, FaultPlan, Faulty, Operation};
//! use testkit::memory::MemoryRuntime;
//!
//! // The second launch does its work and its answer is lost; everything else fails once in ten, as this seed says.
//! let plan = FaultPlan::seeded(7, 0.1).fail(Operation::Launch, 2, Fault::FailAfter);
//! let runtime = Faulty::new(Arc::new(MemoryRuntime::new()), plan);
//! ```
//!
//! What happens to a call depends on the plan, the operation and which call of that operation it is, and on nothing
//! else: no clock, no thread. So a seed that found something finds it again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use session_core::error::{Error, ErrorKind, Result};
use session_core::garbage::Garbage;
use session_core::id::{ContainerId, ContainerName, ImageRef};
use session_core::label::OwnerId;
use session_core::runtime::{
    BoxedByteStream, Capability, ContainerEvent, ContainerRuntime, ContainerSpec, ContainerStatus,
    OwnedResource, PreparedImage, Progress, RuntimeHealth, UserIds,
};

/// How long a delay of a seeded plan is at most.
const MAX_DELAY_MS: u64 = 20;

/// The operations of a [`ContainerRuntime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of the same name")]
pub enum Operation {
    Probe,
    Prepare,
    Launch,
    Bridge,
    Inspect,
    List,
    Pause,
    Resume,
    Remove,
    Watch,
    Diagnostics,
    StartedAt,
    Start,
    Discard,
    Rename,
    HasWorkspace,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Probe,
        Self::Prepare,
        Self::Launch,
        Self::Bridge,
        Self::Inspect,
        Self::List,
        Self::Pause,
        Self::Resume,
        Self::Remove,
        Self::Watch,
        Self::Diagnostics,
        Self::StartedAt,
        Self::Start,
        Self::Discard,
        Self::Rename,
        Self::HasWorkspace,
    ];
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    FailBefore,
    /// The work is done and the answer is lost.
    FailAfter,
    /// The work is done a little later.
    Delay(Duration),
    /// Nothing is done and nothing is ever said.
    Hang,
    /// The work is done, and then nothing is ever said.
    HangAfter,
}

/// Which calls fail, and how.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    named: BTreeMap<(Operation, u64), Fault>,
    every: BTreeMap<Operation, Fault>,
    at: BTreeMap<u64, Fault>,
    chance: Option<Chance>,
}

#[derive(Debug, Clone, Copy)]
struct Chance {
    seed: u64,
    /// In 2^32 parts.
    rate: u64,
}

impl FaultPlan {
    /// Nothing fails.
    pub fn none() -> Self {
        Self::default()
    }

    /// Each call fails or is delayed with this probability, as the seed says. Nothing hangs.
    pub fn seeded(seed: u64, probability: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 2^32"
        )]
        let rate = (probability.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u64;
        Self {
            chance: Some(Chance { seed, rate }),
            ..Self::default()
        }
    }

    /// The `nth` call (from 1) of one operation fails.
    #[must_use]
    pub fn fail(mut self, operation: Operation, nth: u64, fault: Fault) -> Self {
        self.named.insert((operation, nth), fault);
        self
    }

    /// Every call of one operation fails.
    #[must_use]
    pub fn always(mut self, operation: Operation, fault: Fault) -> Self {
        self.every.insert(operation, fault);
        self
    }

    /// The `nth` call (from 1) of any operation fails.
    #[must_use]
    pub fn fail_at(mut self, nth: u64, fault: Fault) -> Self {
        self.at.insert(nth, fault);
        self
    }

    fn judge(&self, operation: Operation, nth: u64, overall: u64) -> Option<Fault> {
        let said = self
            .named
            .get(&(operation, nth))
            .or_else(|| self.at.get(&overall));
        said.or_else(|| self.every.get(&operation))
            .copied()
            .or_else(|| self.chance?.fault(operation, nth))
    }
}

impl Chance {
    fn fault(self, operation: Operation, nth: u64) -> Option<Fault> {
        let mixed = mix(self.seed ^ mix((operation as u64) << 32 | nth));
        if (mixed & u64::from(u32::MAX)) >= self.rate {
            return None;
        }
        let rest = mixed >> 32;
        Some(match rest % 3 {
            0 => Fault::FailBefore,
            1 => Fault::FailAfter,
            _ => Fault::Delay(Duration::from_millis(rest / 3 % MAX_DELAY_MS)),
        })
    }
}

/// splitmix64: well mixed, and the same on every machine and in every version of every crate.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One call that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Of what.
    pub operation: Operation,
    /// Which call of this operation it was, from 1.
    pub nth: u64,
    /// What went wrong with it.
    pub fault: Option<Fault>,
}

#[derive(Default)]
struct State {
    plan: FaultPlan,
    counts: BTreeMap<Operation, u64>,
    calls: Vec<Call>,
}

/// See the module. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn ContainerRuntime>,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl Faulty {
    /// `inner` with faults.
    pub fn new(inner: Arc<dyn ContainerRuntime>, plan: FaultPlan) -> Self {
        let state = State {
            plan,
            ..State::default()
        };
        Self {
            inner,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Replaces the plan; calls are counted from 1 again.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.lock() = State {
            plan,
            ..State::default()
        };
    }

    /// The calls since the plan was set, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, operation: Operation) -> Option<Fault> {
        let mut state = self.lock();
        let nth = state.counts.get(&operation).copied().unwrap_or_default() + 1;
        state.counts.insert(operation, nth);
        let fault = state.plan.judge(operation, nth, state.calls.len() as u64 + 1);
        state.calls.push(Call {
            operation,
            nth,
            fault,
        });
        fault
    }

    async fn call<T>(&self, operation: Operation, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.next(operation) {
            None => work.await,
            Some(Fault::FailBefore) => Err(injected(operation, "before")),
            Some(Fault::FailAfter) => {
                work.await?;
                Err(injected(operation, "after"))
            }
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                work.await
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::HangAfter) => {
                work.await?;
                std::future::pending().await
            }
        }
    }
}

fn injected(operation: Operation, when: &'static str) -> Error {
    Error::new(ErrorKind::EngineFailed, "call the engine", "a fault was injected")
        .with_context("call", format!("{operation:?}"))
        .with_context("when", when)
        .with_hint("this is a test of what happens when an engine fails")
}

#[async_trait]
impl ContainerRuntime for Faulty {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn probe(&self) -> Result<RuntimeHealth> {
        self.call(Operation::Probe, self.inner.probe()).await
    }

    async fn prepare(
        &self,
        image: &ImageRef,
        user: UserIds,
        progress: &dyn Progress,
    ) -> Result<PreparedImage> {
        self.call(Operation::Prepare, self.inner.prepare(image, user, progress))
            .await
    }

    async fn launch(&self, spec: &ContainerSpec, image: &PreparedImage) -> Result<ContainerId> {
        self.call(Operation::Launch, self.inner.launch(spec, image)).await
    }

    async fn started_at(&self) -> Result<Option<jiff::Timestamp>> {
        self.call(Operation::StartedAt, self.inner.started_at()).await
    }

    async fn start(&self, container: &ContainerName) -> Result<()> {
        self.call(Operation::Start, self.inner.start(container)).await
    }

    async fn discard(&self, container: &ContainerName) -> Result<()> {
        self.call(Operation::Discard, self.inner.discard(container)).await
    }

    async fn has_workspace(&self, container: &ContainerName) -> Result<bool> {
        self.call(Operation::HasWorkspace, self.inner.has_workspace(container))
            .await
    }

    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<()> {
        self.call(Operation::Rename, self.inner.rename(id, name)).await
    }

    async fn bridge(&self, container: &ContainerName) -> Result<BoxedByteStream> {
        self.call(Operation::Bridge, self.inner.bridge(container)).await
    }

    async fn inspect(&self, container: &ContainerName) -> Result<ContainerStatus> {
        self.call(Operation::Inspect, self.inner.inspect(container)).await
    }

    async fn list(&self, owner: &OwnerId) -> Result<Vec<OwnedResource>> {
        self.call(Operation::List, self.inner.list(owner)).await
    }

    async fn pause(&self, container: &ContainerName) -> Result<()> {
        self.call(Operation::Pause, self.inner.pause(container)).await
    }

    async fn resume(&self, container: &ContainerName) -> Result<()> {
        self.call(Operation::Resume, self.inner.resume(container)).await
    }

    async fn remove(&self, container: &ContainerName) -> Result<()> {
        self.call(Operation::Remove, self.inner.remove(container)).await
    }

    async fn watch(&self, owner: &OwnerId) -> Result<BoxStream<'static, Result<ContainerEvent>>> {
        self.call(Operation::Watch, self.inner.watch(owner)).await
    }

    async fn stale(&self, wanted: &[(ImageRef, UserIds)], unused: Duration) -> Result<Vec<Garbage>> {
        self.inner.stale(wanted, unused).await
    }

    async fn remove_stale(&self, thing: &Garbage) -> Result<bool> {
        self.inner.remove_stale(thing).await
    }

    async fn diagnostics(&self, container: &ContainerName, limit: usize) -> Result<String> {
        self.call(Operation::Diagnostics, self.inner.diagnostics(container, limit))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(seed: u64) -> Vec<Option<Fault>> {
        let plan = FaultPlan::seeded(seed, 0.5);
        let calls = Operation::ALL
            .iter()
            .flat_map(|operation| (1..20).map(move |nth| (*operation, nth)));
        calls
            .map(|(operation, nth)| plan.judge(operation, nth, 0))
            .collect()
    }

    #[test]
    fn a_seed_says_the_same_again_and_another_something_else() {
        assert_eq!(judged(1), judged(1));
        assert_ne!(judged(1), judged(2));
    }

    #[test]
    fn the_rate_is_kept_and_every_operation_gets_its_share() {
        let judged = judged(3);
        let hit = judged.iter().flatten().count();
        assert!(
            (judged.len() * 2 / 5..judged.len() * 3 / 5).contains(&hit),
            "{hit} of {}",
            judged.len()
        );
        for operation in judged.chunks(19) {
            assert!(operation.iter().any(Option::is_some));
        }
    }

    #[test]
    fn what_is_named_wins() {
        let plan =
            FaultPlan::none()
                .always(Operation::List, Fault::Hang)
                .fail(Operation::List, 2, Fault::FailAfter);
        assert_eq!(plan.judge(Operation::List, 1, 1), Some(Fault::Hang));
        assert_eq!(plan.judge(Operation::List, 2, 2), Some(Fault::FailAfter));
        assert_eq!(plan.judge(Operation::Launch, 1, 3), None);
    }
}
