//! Prompts that go on when this process ends.
//!
//! A sealed session reaches its model through the process that owns its agent. A server over stdio ends with its client,
//! so a prompt that nobody waits for needs another process to take over then. Which one is a matter of the program that
//! links this crate.

use std::sync::Arc;

use async_trait::async_trait;
use session_core::error::Result;
use session_core::turn::TurnInfo;

use crate::call::Call;

/// Sees to it that turns go on after this process.
#[async_trait]
pub trait TurnKeeper: Send + Sync + 'static {
    /// Called right after a turn was accepted that nobody waits for. When it returns, the turn must survive the death
    /// of this process at any moment, for example because another process waits to own it.
    async fn keep(&self, turn: &TurnInfo) -> Result<()>;
}

/// A server that outlives its clients needs no keeper.
pub(crate) type Keeper = Option<Arc<dyn TurnKeeper>>;

/// Hands a turn to the keeper. The turn was accepted, so a keeper that fails is a warning, not a failure.
pub(crate) async fn keep(call: &Call, turn: &TurnInfo) {
    let Some(keeper) = &call.core.keeper else { return };
    if turn.status.is_ended() {
        return;
    }
    if let Err(error) = keeper.keep(turn).await {
        tracing::warn!(session = %turn.session, turn = %turn.id, %error, "a prompt will not outlive this server");
        call.warn(format!(
            "the prompt runs, but only as long as this server does: {}",
            error.message()
        ));
    }
}
