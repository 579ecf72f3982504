//! `attach`: a person in front of a program in a session.
//!
//! Bytes pass unchanged in both directions, as in a terminal of one's own: escape sequences are what the user came to see.
//! The terminal outlives this command; leaving it is not ending it.

use std::io;

use bytes::Bytes;
use futures::StreamExt as _;
use session_core::api::SessionApi;
use session_core::command::CommandExit;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{
    AttachedTerminal, OpenTerminal, TerminalControl, TerminalEvent, TerminalInfo, TerminalProgram,
    TerminalSize,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::AttachArgs;
use crate::console::{Console, Reader, Writer};
use crate::exit::ExitStatus;
use crate::interrupts::{Interrupt, Interrupts};
use crate::raw_terminal::{self, RawTerminal};
use crate::{sanitize, target};

/// How much of what is typed or pasted is read at once.
const CHUNK: usize = 16 << 10;

/// How looking at a terminal ended.
#[derive(Debug)]
enum Left {
    /// The program ended.
    Exited(CommandExit),
    /// The user left with the keys for that.
    Detached,
    /// A signal wants this process to end.
    Signal(Interrupt),
}

/// Attaches to a terminal, lists them, or closes one.
///
/// # Errors
/// Those of the lifecycle API; `InvalidArgument` when there is no terminal to attach.
pub async fn attach(args: &AttachArgs, api: &dyn SessionApi, console: &mut Console) -> Result<ExitStatus> {
    if args.list || args.close {
        let session = target::find(api, &args.session).await?;
        return match args.terminal {
            Some(terminal) if args.close => {
                api.close_terminal(&session, &terminal).await?;
                Ok(ExitStatus::SUCCESS)
            }
            _ => list(&session, api, console).await,
        };
    }
    // Before anything is opened that nobody could look at.
    if !console.terminals.stdin || !console.terminals.stdout {
        return Err(raw_terminal::no_terminal());
    }
    let session = target::find(api, &args.session).await?;
    let size = raw_terminal::size_of(io::stdin());
    let terminal = choose(args, &session, size, api).await?;
    let attached = api.attach_terminal(&session, &terminal, size).await?;
    let interrupts = (console.catch_signals)()?;
    let left = look(attached, args.detach_keys.as_bytes(), interrupts, console).await?;
    Ok(conclude(&session, &terminal, &left, console))
}

/// The terminal that is meant: one that is named, one that is opened, or the newest that is there.
async fn choose(
    args: &AttachArgs,
    session: &SessionId,
    size: TerminalSize,
    api: &dyn SessionApi,
) -> Result<TerminalId> {
    if let Some(terminal) = args.terminal {
        return Ok(terminal);
    }
    // What is asked again because a daemon went away opens no second one.
    let key = || Some(TerminalId::new().to_string());
    let open = |program| {
        let request = OpenTerminal {
            program,
            size,
            idempotency_key: key(),
        };
        api.open_terminal(session, request)
    };
    if !args.argv.is_empty() {
        let argv = args.argv.clone();
        return Ok(open(TerminalProgram::Command { argv }).await?.id);
    }
    if args.shell {
        return Ok(open(TerminalProgram::Shell).await?.id);
    }
    let newest = |wanted: fn(&TerminalInfo) -> bool, terminals: Vec<TerminalInfo>| {
        terminals
            .into_iter()
            .rev()
            .find(wanted)
            .map(|terminal| terminal.id)
    };
    let terminals = api.terminals(session).await?;
    if args.agent {
        // There is one of it at a time, and whoever wants it again comes back to it.
        return match newest(|terminal| terminal.program == TerminalProgram::Agent, terminals) {
            Some(terminal) => Ok(terminal),
            None => Ok(open(TerminalProgram::Agent).await?.id),
        };
    }
    match newest(|_| true, terminals) {
        Some(terminal) => Ok(terminal),
        None => Ok(open(TerminalProgram::Shell).await?.id),
    }
}

/// Hands everything on until the program ends, the user leaves, or a signal comes.
async fn look(
    attached: AttachedTerminal,
    keys: &[u8],
    mut interrupts: Interrupts,
    console: &mut Console,
) -> Result<Left> {
    let raw = RawTerminal::enter(io::stdin())?;
    let AttachedTerminal { events, control, .. } = attached;
    let stdout = &mut console.raw_stdout;
    // Three loops side by side, so that a program that does not read holds up the keys alone. Each keeps what it has in
    // hand; the first that ends drops the others, and what they still held is for a screen that nobody looks at.
    let left = tokio::select! {
        shown = show(events, stdout) => shown,
        typed = type_in(&mut console.stdin, keys, control.as_ref()) => typed,
        sized = follow_size(&raw, control.as_ref()) => sized,
        Some(signal) = interrupts.next() => Ok(Left::Signal(signal)),
    };
    if !matches!(left, Ok(Left::Exited(_))) {
        let _ = console.raw_stdout.write_all(raw_terminal::RESET).await;
    }
    let _ = console.raw_stdout.flush().await;
    drop(raw);
    left
}

async fn show(
    mut events: futures::stream::BoxStream<'static, Result<TerminalEvent>>,
    stdout: &mut Writer,
) -> Result<Left> {
    let failed = |source| {
        Error::new(
            ErrorKind::HostIo,
            "show the terminal",
            "standard output cannot be written",
        )
        .with_source(source)
    };
    while let Some(event) = events.next().await {
        match event? {
            TerminalEvent::Output(bytes) => {
                stdout.write_all(&bytes).await.map_err(failed)?;
                stdout.flush().await.map_err(failed)?;
            }
            // What follows repeats the screen, and begins on an empty one.
            TerminalEvent::Skipped => stdout.write_all(b"\x1b[2J\x1b[H").await.map_err(failed)?,
            // Another viewer has a smaller screen; what the program makes of it is seen.
            TerminalEvent::Resized(_) => {}
            TerminalEvent::Exited(exit) => return Ok(Left::Exited(exit)),
        }
    }
    Err(Error::new(
        ErrorKind::LinkLost,
        "show the terminal",
        "the connection ended before the program did",
    ))
}

async fn type_in(stdin: &mut Reader, keys: &[u8], control: &dyn TerminalControl) -> Result<Left> {
    let mut watch = DetachWatch::new(keys);
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = stdin.read(&mut buffer).await.map_err(|source| {
            Error::new(ErrorKind::HostIo, "read the terminal", "it cannot be read").with_source(source)
        })?;
        if length == 0 {
            // The terminal is gone.
            return Ok(Left::Signal(Interrupt::Hangup));
        }
        let (typed, detach) = watch.pass(&buffer[..length]);
        if !typed.is_empty() {
            control.write(Bytes::from(typed)).await?;
        }
        if detach {
            return Ok(Left::Detached);
        }
    }
}

async fn follow_size(raw: &RawTerminal, control: &dyn TerminalControl) -> Result<Left> {
    let mut changes = signal(SignalKind::window_change()).map_err(|source| {
        Error::new(
            ErrorKind::HostIo,
            "follow the terminal's size",
            "the system refused",
        )
        .with_source(source)
    })?;
    // It may have changed since it was told.
    control.resize(raw.size()).await?;
    while changes.recv().await.is_some() {
        control.resize(raw.size()).await?;
    }
    std::future::pending().await
}

/// Finds the keys that detach in what is typed. A beginning of them is held back until the next key tells what it was.
struct DetachWatch<'a> {
    keys: &'a [u8],
    seen: usize,
}

impl<'a> DetachWatch<'a> {
    fn new(keys: &'a [u8]) -> Self {
        Self { keys, seen: 0 }
    }

    /// What is to be handed on, and whether the keys were all there.
    fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + self.seen);
        for &byte in typed {
            // What was held back and is none of them after all is handed on, as far as it is not the beginning anew.
            while self.seen > 0 && self.keys[self.seen] != byte {
                let held = self.seen;
                self.seen = (0..held)
                    .rev()
                    .find(|&length| self.keys[held - length..held] == self.keys[..length])
                    .unwrap_or(0);
                passed.extend_from_slice(&self.keys[..held - self.seen]);
            }
            if self.keys.get(self.seen) == Some(&byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return (passed, true);
                }
            } else {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

fn conclude(session: &SessionId, terminal: &TerminalId, left: &Left, console: &Console) -> ExitStatus {
    match left {
        Left::Exited(exit) => ExitStatus::of_program(exit.shell_code()),
        Left::Detached => {
            console.printer.note(format_args!(
                "\ndetached; come back with `cofferdam attach {session} --terminal {terminal}`"
            ));
            ExitStatus::SUCCESS
        }
        Left::Signal(signal) => ExitStatus::of_signal(signal.number()),
    }
}

async fn list(session: &SessionId, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let terminals = api.terminals(session).await?;
    let printer = &console.printer;
    if printer.json() {
        for terminal in &terminals {
            printer.object(terminal)?;
        }
        return Ok(ExitStatus::SUCCESS);
    }
    for terminal in &terminals {
        let program = match &terminal.program {
            TerminalProgram::Shell => "shell".to_owned(),
            TerminalProgram::Agent => "agent".to_owned(),
            TerminalProgram::Command { argv } => sanitize::one_line(&argv.join(" ")).into_owned(),
        };
        let TerminalSize { rows, columns } = terminal.size;
        printer.line(format_args!(
            "{}  {columns}x{rows}  {}  {program}",
            terminal.id,
            crate::render::count(u64::from(terminal.viewers), "viewer")
        ))?;
    }
    Ok(ExitStatus::SUCCESS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(keys: &[u8], typed: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watch = DetachWatch::new(keys);
        let mut all = Vec::new();
        for typed in typed {
            let (bytes, detach) = watch.pass(typed);
            all.extend(bytes);
            if detach {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn the_keys_detach_and_nothing_else_does() {
        let keys = [16, 17];
        assert_eq!(passed(&keys, &[b"ls\r\x10\x11more"]), (b"ls\r".to_vec(), true));
        assert_eq!(passed(&keys, &[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(passed(&keys, &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(passed(&keys, &[b"\x10", b"x"]), (b"\x10x".to_vec(), false));
        assert_eq!(
            passed(&keys, &[b"\x11\x10"]),
            (b"\x11".to_vec(), false),
            "a beginning is held back"
        );
        assert_eq!(passed(b"aab", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(passed(b"", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }

    proptest! {
        /// Whatever is typed in whatever pieces, what is handed on is what stands before the keys.
        #[test]
        fn nothing_typed_is_lost(
            keys in proptest::collection::vec(0u8..3, 1..4),
            typed in proptest::collection::vec(proptest::collection::vec(0u8..3, 0..6), 0..6),
        ) {
            let all = typed.concat();
            let pieces: Vec<&[u8]> = typed.iter().map(Vec::as_slice).collect();
            let (handed_on, detached) = passed(&keys, &pieces);
            match all.windows(keys.len()).position(|window| window == keys) {
                Some(at) => {
                    prop_assert!(detached);
                    prop_assert_eq!(&handed_on[..], &all[..at]);
                }
                None => {
                    prop_assert!(!detached);
                    // A beginning of the keys at the very end may be held back.
                    prop_assert!(all.starts_with(&handed_on) && keys.starts_with(&all[handed_on.len()..]));
                }
            }
        }
    }
}
