//! `prompt`: give the agent work and follow it, or leave it: to the daemon, or without one to a process of its own.

use std::path::Path;
use std::time::Duration;

use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::session::PromptRequest;
use session_core::turn::{TurnInfo, TurnOutcome, TurnStatus};

use super::input;
use crate::args::PromptArgs;
use crate::compose::Opened;
use crate::console::Console;
use crate::detach;
use crate::exit::ExitStatus;
use crate::follow::{Followed, Follower};
use crate::interrupts::{Interrupt, Interrupts};
use crate::printer::Printer;
use crate::render::{Clock, Timeline};
use crate::sanitize;
use crate::target;

/// Prompts a session. The agent's final words go to standard output, what it does on the way to standard error.
///
/// # Errors
/// Those of the lifecycle API; `InvalidArgument` for a prompt that cannot be.
pub async fn prompt(
    args: &PromptArgs,
    state_dir: &Path,
    opened: &Opened,
    console: &mut Console,
) -> Result<ExitStatus> {
    let api = opened.api.as_ref();
    let session = target::find(api, &args.session).await?;
    let text = input::prompt(&args.prompt, console).await?;
    if args.detach && opened.lasting {
        let turn = api.prompt(&session, asked(text, args)).await?;
        detach::accepted(&turn, &console.printer)?;
        return Ok(ExitStatus::SUCCESS);
    }
    if args.detach {
        let owner = detach::Owner {
            session,
            timeout: args.timeout,
            idempotency_key: args.idempotency_key.as_deref(),
            api_key_env: args.api_key_env.as_deref(),
            state_dir,
        };
        return owner.start(&text, &console.printer).await;
    }
    let mut interrupts = (console.catch_signals)()?;
    let turn = api.prompt(&session, asked(text, args)).await?;
    let mut timeline = timeline(&console.printer);
    let after = turn.first_event.saturating_sub(1);
    let followed = Follower::new(api, &console.printer, &mut interrupts, &mut timeline, &turn)
        .run(after)
        .await?;
    conclude(&turn, followed, &console.printer)
}

fn conclude(turn: &TurnInfo, followed: Followed, printer: &Printer) -> Result<ExitStatus> {
    match followed {
        Followed::Left(signal) => {
            printer.note(format_args!(
                "left; the turn may still run. Interrupt it with `cofferdam interrupt {}`",
                turn.session
            ));
            Ok(ExitStatus::of_signal(signal.number()))
        }
        Followed::Finished { outcome, by } => {
            print_text(&outcome, printer)?;
            Ok(status_of(&outcome, by))
        }
    }
}

/// The agent's final words, unless whoever reads standard output has just seen them.
fn print_text(outcome: &TurnOutcome, printer: &Printer) -> Result<()> {
    if printer.json() || outcome.text.is_empty() {
        return Ok(());
    }
    if !printer.stdout_is_terminal() {
        return printer.line(&outcome.text);
    }
    if printer.narrates() {
        return Ok(());
    }
    printer.line(sanitize::lines(&outcome.text))
}

fn asked(text: String, args: &PromptArgs) -> PromptRequest {
    PromptRequest {
        idempotency_key: args.idempotency_key.clone(),
        ..request(text, args.timeout)
    }
}

/// A request for a turn.
pub(super) fn request(prompt: String, time_limit: Option<Duration>) -> PromptRequest {
    PromptRequest {
        prompt,
        time_limit,
        ..PromptRequest::default()
    }
}

/// The timeline of a turn that is followed.
pub(super) fn timeline(printer: &Printer) -> Timeline {
    Timeline::new(Clock::Elapsed, printer.err_paint(), printer.verbose() > 0)
}

/// The exit status of an ended turn.
pub(super) fn status_of(outcome: &TurnOutcome, by: Option<Interrupt>) -> ExitStatus {
    match (outcome.status, by) {
        // An agent that was done before the interrupt reached it has done what it was asked for.
        (TurnStatus::Succeeded, _) => ExitStatus::SUCCESS,
        (_, Some(signal)) => ExitStatus::of_signal(signal.number()),
        (_, None) => ExitStatus::TURN_FAILED,
    }
}

/// Follows a turn from the first event of its session on, for a session that was made for it.
pub(super) async fn follow_from_the_start(
    api: &dyn SessionApi,
    printer: &Printer,
    interrupts: &mut Interrupts,
    turn: &TurnInfo,
) -> Result<Followed> {
    let mut timeline = timeline(printer);
    // As JSON the whole history is wanted; a person has seen the creation already.
    let after = if printer.json() {
        0
    } else {
        turn.first_event.saturating_sub(1)
    };
    Follower::new(api, printer, interrupts, &mut timeline, turn)
        .run(after)
        .await
}
