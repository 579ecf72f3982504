//! `run`: a whole session in one command. Create, prompt, show the changes, destroy; whatever happens in between,
//! nothing is left behind and no work is lost.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::{CreateSession, SessionInfo};
use session_core::state::SessionState;
use session_core::turn::{TurnOutcome, TurnStatus};

use super::{input, prompt};
use crate::console::Console;
use crate::creating::{self, Creation};
use crate::exit::ExitStatus;
use crate::failure::{print_error, print_warning};
use crate::follow::Followed;
use crate::interrupts::{Interrupt, Interrupts};
use crate::printer::Printer;
use crate::render;

mod deliver;

use self::deliver::{Delivery, Undelivered, deliver};

/// What `run` shall do.
#[derive(Debug)]
pub struct RunSettings {
    /// The prompt; `-` reads standard input.
    pub prompt: String,
    /// The session to make.
    pub session: CreateSession,
    /// When the turn is interrupted.
    pub timeout: Option<Duration>,
    /// Leave the session at the end.
    pub keep: bool,
    /// What becomes of the changes.
    pub apply: ApplyMode,
    /// Where patches are kept.
    pub state_dir: PathBuf,
}

/// What becomes of the changes in a copied workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// Ask, when somebody can answer.
    Ask,
    /// Leave the directory as it is.
    Never,
    /// Apply them.
    Always {
        /// What tools on this host would run or obey, too.
        executable_config: bool,
    },
}

/// How the work in a session ended.
struct Worked {
    status: ExitStatus,
    /// Why the session must not be destroyed, when something in it would be lost.
    unsaved: bool,
}

/// Runs a session from beginning to end.
///
/// # Errors
/// Those of the lifecycle API. A session that was made is destroyed in any case, unless its changes could not be saved.
pub async fn run(settings: RunSettings, api: &dyn SessionApi, console: &mut Console) -> Result<ExitStatus> {
    let text = input::prompt(&settings.prompt, console).await?;
    let mut interrupts = (console.catch_signals)()?;
    let created = creating::create(api, settings.session.clone(), &console.printer, &mut interrupts).await?;
    let session = match created {
        Creation::Ready(session) => session,
        Creation::Abandoned(signal) => return Ok(ExitStatus::of_signal(signal.number())),
    };
    announce(&session, &console.printer);
    let worked = work(&settings, text, &session, api, console, &mut interrupts).await;
    let keep = settings.keep || worked.as_ref().is_ok_and(|worked| worked.unsaved);
    let status = match &worked {
        Ok(worked) => worked.status,
        Err(error) => {
            if !console.printer.stdout_closed() {
                print_error(&console.printer, error);
            }
            error.kind().into()
        }
    };
    if keep {
        let hint = format!("`cofferdam rm {}` removes it", session.id);
        console
            .printer
            .note(format_args!("session {} is kept; {hint}", session.id));
        return Ok(status);
    }
    put_away(api, &session.id, &console.printer, &mut interrupts).await?;
    Ok(status)
}

fn announce(session: &SessionInfo, printer: &Printer) {
    let paint = printer.err_paint();
    let what = format!(
        "{}, {}",
        render::network(session),
        render::workspace(&session.workspace)
    );
    printer.note(format_args!(
        "{} {}",
        paint.bold(format_args!("session {}", render::short_id(session))),
        paint.dim(what)
    ));
}

async fn work(
    settings: &RunSettings,
    text: String,
    session: &SessionInfo,
    api: &dyn SessionApi,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Worked> {
    let turn = api
        .prompt(&session.id, prompt::request(text, settings.timeout))
        .await?;
    let followed = prompt::follow_from_the_start(api, &console.printer, interrupts, &turn).await;
    let (status, apply) = match followed {
        // The second signal: the user wants to be gone, not to see what there is.
        Ok(Followed::Left(signal)) => {
            return Ok(Worked {
                status: ExitStatus::of_signal(signal.number()),
                unsaved: false,
            });
        }
        Ok(Followed::Finished { outcome, by }) => (
            prompt::status_of(&outcome, by),
            mode_after(&outcome, settings.apply),
        ),
        // Whatever the agent did until now is delivered all the same.
        Err(error) => {
            complain(&error, console);
            (error.kind().into(), ApplyMode::Never)
        }
    };
    let delivery = Delivery {
        state_dir: &settings.state_dir,
        apply,
        workspace: &session.workspace,
    };
    Ok(
        match deliver(&delivery, api, &session.id, console, interrupts).await {
            Ok(delivered) => Worked {
                status: delivered.unwrap_or(status),
                unsaved: false,
            },
            Err(undelivered) => undelivered_work(undelivered, status, session, api, console).await,
        },
    )
}

/// When the changes could be neither shown nor kept, the session stays, so that they are not lost.
async fn undelivered_work(
    undelivered: Undelivered,
    status: ExitStatus,
    session: &SessionInfo,
    api: &dyn SessionApi,
    console: &Console,
) -> Worked {
    let Undelivered { error, saved } = undelivered;
    // A person who was told that the session is lost need not be told what cannot be done with it.
    if status == ExitStatus::SUCCESS || status == ExitStatus::TURN_FAILED {
        complain(&error, console);
    }
    let unsaved = !saved && !is_gone(api, &session.id).await;
    if unsaved {
        print_warning(
            &console.printer,
            "the session is kept, because its changes could not be saved",
            Some(&format!("copy them out with `cofferdam cp {}:. DIR`", session.id)),
        );
    }
    Worked {
        status: if status == ExitStatus::SUCCESS {
            error.kind().into()
        } else {
            status
        },
        unsaved,
    }
}

fn complain(error: &Error, console: &Console) {
    if !console.printer.stdout_closed() {
        print_error(&console.printer, error);
    }
}

/// Whether there is no workspace any more that could be saved. Who cannot tell keeps it.
async fn is_gone(api: &dyn SessionApi, session: &SessionId) -> bool {
    match api.inspect(session).await {
        Ok(details) => matches!(
            details.info.state,
            SessionState::Failed { .. }
                | SessionState::Interrupted { .. }
                | SessionState::Destroying
                | SessionState::Destroyed
        ),
        Err(error) => matches!(error.kind(), ErrorKind::ContainerLost | ErrorKind::NotFound),
    }
}

/// The half work of a turn that failed is not applied to anything by itself.
fn mode_after(outcome: &TurnOutcome, mode: ApplyMode) -> ApplyMode {
    match outcome.status {
        TurnStatus::Succeeded => mode,
        _ => ApplyMode::Never,
    }
}

/// Destroys the session; a signal meanwhile leaves the rest to the next command that looks after orphans.
async fn put_away(
    api: &dyn SessionApi,
    session: &SessionId,
    printer: &Printer,
    interrupts: &mut Interrupts,
) -> Result<()> {
    const PATIENCE: u32 = 2;
    printer.status(Some("removing the session"));
    let mut destroyed = api.destroy(session);
    let mut signals = 0;
    loop {
        // The destruction is kept outside of the loop; a signal that is dropped with its arm was taken already.
        tokio::select! {
            end = &mut destroyed => {
                printer.status(None);
                return end;
            }
            Some(signal) = interrupts.next() => {
                signals += 1;
                if signals >= PATIENCE || signal == Interrupt::Quit {
                    printer.status(None);
                    print_warning(
                        printer,
                        &format!("session {session} may still be there"),
                        Some(&format!("`cofferdam rm {session}` removes it")),
                    );
                    return Ok(());
                }
                printer.note("the session is being removed; again to leave at once");
            }
        }
    }
}
