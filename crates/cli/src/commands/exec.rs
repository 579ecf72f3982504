//! `exec` and `output`: a program in a session, its bytes and its end passed on as they are.
//!
//! Both streams pass unchanged, escape sequences included: they are the program's own output, which its user asked to
//! see, as with any program that is run in a terminal.

use std::os::unix::ffi::OsStringExt as _;

use session_core::api::SessionApi;
use session_core::command::{CommandExit, CommandRequest, ExitCause, OnDisconnect};
use session_core::error::{Error, Result};

use crate::args::{ExecArgs, OutputArgs};
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::failure::print_error;
use crate::printer::Printer;
use crate::pump::{self, Steering};
use crate::{sanitize, target};

/// Runs a program; ends with its exit code.
///
/// # Errors
/// None: what fails is printed here, because the exit codes of `exec` are its own.
pub async fn exec(args: ExecArgs, api: &dyn SessionApi, console: &mut Console) -> Result<ExitStatus> {
    let ended = run(args, api, console).await;
    Ok(conclude(ended, &console.printer))
}

/// Reads a detached command's output to its end; ends with its exit code.
///
/// # Errors
/// None, as with [`exec`].
pub async fn output(args: &OutputArgs, api: &dyn SessionApi, console: &mut Console) -> Result<ExitStatus> {
    let ended = reattach(args, api, console).await;
    Ok(conclude(ended, &console.printer))
}

async fn run(args: ExecArgs, api: &dyn SessionApi, console: &mut Console) -> Result<ExitStatus> {
    let session = target::find(api, &args.session).await?;
    let program = args
        .argv
        .first()
        .map(|program| program.to_string_lossy().into_owned());
    let request = CommandRequest {
        argv: args.argv.into_iter().map(std::ffi::OsString::into_vec).collect(),
        env: args.env.into_iter().collect(),
        cwd: args.cwd,
        stdin: args.interactive,
        time_limit: args.timeout,
        output_limit: args.output_limit,
        on_disconnect: if args.detach {
            OnDisconnect::Detach
        } else {
            OnDisconnect::Cancel
        },
        idempotency_key: args.idempotency_key,
    };
    if args.detach {
        let running = api.command(&session, request).await?;
        return detached(&session, running.id, &console.printer);
    }
    // Before the program starts, so that no signal falls into a gap.
    let steering = Steering {
        interrupts: Some((console.catch_signals)()?),
        stdin: args.interactive,
    };
    let running = api.command(&session, request).await?;
    let exit = pump::run(running, steering, console).await?;
    explain(&exit, program.as_deref(), &console.printer);
    Ok(ExitStatus::of_program(exit.shell_code()))
}

fn detached(
    session: &session_core::id::SessionId,
    command: session_core::id::CommandId,
    printer: &Printer,
) -> Result<ExitStatus> {
    if printer.json() {
        printer.object(&pump::Line::CommandStarted { command })?;
    } else {
        printer.note(format_args!(
            "read its output with `cofferdam output {session} {command}`"
        ));
        printer.line(command)?;
    }
    Ok(ExitStatus::SUCCESS)
}

async fn reattach(args: &OutputArgs, api: &dyn SessionApi, console: &mut Console) -> Result<ExitStatus> {
    let session = target::find(api, &args.session).await?;
    let running = api.attach_command(&session, &args.command, args.offset).await?;
    // Ctrl-C stops the reading, not the command: it was left to itself on purpose.
    let steering = Steering {
        interrupts: None,
        stdin: false,
    };
    let exit = pump::run(running, steering, console).await?;
    explain(&exit, None, &console.printer);
    Ok(ExitStatus::of_program(exit.shell_code()))
}

fn conclude(ended: Result<ExitStatus>, printer: &Printer) -> ExitStatus {
    ended.unwrap_or_else(|error: Error| {
        if printer.stdout_closed() {
            return ExitStatus::STDOUT_CLOSED;
        }
        print_error(printer, &error);
        ExitStatus::EXEC_FAILED
    })
}

/// Says on standard error what the exit code alone does not.
fn explain(exit: &CommandExit, program: Option<&str>, printer: &Printer) {
    let program = sanitize::one_line(program.unwrap_or("the program")).into_owned();
    let text = match exit.cause {
        ExitCause::Exited | ExitCause::Signaled | ExitCause::Cancelled => return,
        ExitCause::TimedOut => "the time limit passed; the whole process tree was ended".to_owned(),
        ExitCause::OutputLimit => "the output limit was reached; the whole process tree was ended".to_owned(),
        ExitCause::OutOfMemory => {
            "the kernel ended it for lack of memory; give the session more with --memory".to_owned()
        }
        ExitCause::NotFound => format!("{program}: there is no such program in the session"),
        ExitCause::NotExecutable => format!("{program}: this cannot be executed"),
        ExitCause::BadWorkingDirectory => {
            "the working directory does not exist or cannot be entered".to_owned()
        }
        ExitCause::SupervisorLost => {
            "something in the session ended its supervisor; its own end is not known".to_owned()
        }
    };
    if !printer.json() {
        printer.err_line(format_args!("cofferdam: {text}"));
    }
}
