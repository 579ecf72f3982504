//! The hidden other half of `prompt --detach`: owns a turn until it ends.

use std::time::Duration;

use session_core::api::{SessionApi, SessionApiExt as _};
use session_core::error::Result;
use session_core::session::PromptRequest;
use session_core::turn::TurnInfo;

use super::{input, prompt};
use crate::args::OwnTurnArgs;
use crate::console::Console;
use crate::detach::Answer;
use crate::exit::ExitStatus;

/// Prompts, answers on standard output whether the turn was accepted, and stays until it has ended.
///
/// # Errors
/// Those of the lifecycle API after the turn was accepted; before that they are the answer.
pub async fn own_turn(args: &OwnTurnArgs, api: &dyn SessionApi, console: &mut Console) -> Result<ExitStatus> {
    // The terminal's signals are for the process that the user sees. It fails only for the leader of a group, which has
    // its own signals already.
    let _ = rustix::process::setsid();
    let turn = match accept(args, api, console).await {
        Ok(turn) => turn,
        Err(error) => {
            console.printer.object(&Answer::Refused(error.report()))?;
            return Ok(error.kind().into());
        }
    };
    console
        .printer
        .object(&Answer::Accepted(Box::new(turn.clone())))?;
    let outcome = api.wait_turn(&turn).await?;
    Ok(prompt::status_of(&outcome, None))
}

async fn accept(args: &OwnTurnArgs, api: &dyn SessionApi, console: &mut Console) -> Result<TurnInfo> {
    let text = input::prompt("-", console).await?;
    let limit = args.timeout_ms.map(Duration::from_millis);
    let request = PromptRequest {
        idempotency_key: args.idempotency_key.clone(),
        ..prompt::request(text, limit)
    };
    api.prompt(&args.session, request).await
}
