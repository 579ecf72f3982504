//! A process's pseudo-terminal: init holds the one end, the process and what it starts have the other.
//!
//! The program must lead a session of its own to have a controlling terminal, which is arranged between its fork and its
//! exec. That is done by this binary ([`sit`]), started for that moment: code that runs in a forked child of a process
//! with threads could not be checked by the compiler.

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Command, ExitCode},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    pty::OpenptFlags,
    termios::{InputModes, OptionalActions, Winsize},
};
use session_link::WindowSize;
use tokio::net::unix::pipe;

use crate::diagnose;

/// What a shell says when it cannot execute what it found.
const NOT_EXECUTABLE: u8 = 126;

/// Init's end.
#[derive(Debug)]
pub(super) struct Terminal {
    end: OwnedFd,
    size: Cell<WindowSize>,
    note: String,
}

impl Terminal {
    /// A new terminal and the program's end of it.
    pub(super) fn open(wanted: &session_link::Terminal) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&ours)?;
        rustix::pty::unlockpt(&ours)?;
        let theirs = peer(&ours, flags)?;
        let mut modes = rustix::termios::tcgetattr(&theirs)?;
        // So that the kernel's line editor takes away whole characters.
        modes.input_modes |= InputModes::IUTF8;
        rustix::termios::tcsetattr(&theirs, OptionalActions::Now, &modes)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let terminal = Self {
            end: ours,
            size: Cell::new(wanted.size),
            note: wanted.note.clone(),
        };
        terminal.resize(wanted.size)?;
        Ok((terminal, theirs))
    }

    /// Sets the size; the kernel tells the program in the foreground if it is another one.
    pub(super) fn resize(&self, size: WindowSize) -> io::Result<()> {
        rustix::termios::tcsetwinsize(
            &self.end,
            Winsize {
                ws_row: size.rows(),
                ws_col: size.columns(),
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )?;
        self.size.set(size);
        Ok(())
    }

    /// As it is now.
    pub(super) fn info(&self) -> session_link::Terminal {
        session_link::Terminal {
            size: self.size.get(),
            note: self.note.clone(),
        }
    }

    /// What the program writes, to be read like a pipe: once nobody has the other end open, reading fails.
    pub(super) fn output(&self) -> io::Result<pipe::Receiver> {
        pipe::Receiver::from_owned_fd_unchecked(self.end.try_clone()?)
    }

    /// What is typed, to be written like a pipe: it waits while the program does not read.
    pub(super) fn input(&self) -> io::Result<pipe::Sender> {
        pipe::Sender::from_owned_fd_unchecked(self.end.try_clone()?)
    }
}

/// The other end, without a look at any path; by its path where the kernel cannot do that.
fn peer(ours: &OwnedFd, flags: OpenptFlags) -> io::Result<OwnedFd> {
    match rustix::pty::ioctl_tiocgptpeer(ours, flags) {
        Err(Errno::NOTTY | Errno::INVAL | Errno::NOSYS) => {
            let path = rustix::pty::ptsname(ours, Vec::new())?;
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            Ok(rustix::fs::open(path, flags, Mode::empty())?)
        }
        outcome => Ok(outcome?),
    }
}

/// `session-init sit PROGRAM NAME ARGUMENT…`: makes the terminal that it has as standard input its own, and becomes the
/// program.
pub(crate) fn sit(program: &OsStr, name: &OsStr, arguments: &[OsString]) -> ExitCode {
    let error = match lead() {
        Ok(()) => Command::new(program).arg0(name).args(arguments).exec(),
        Err(error) => error,
    };
    // Onto the terminal: who sits there wonders.
    diagnose(&format!("{}: {error}", name.display()));
    ExitCode::from(NOT_EXECUTABLE)
}

fn lead() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(io::stdin())?;
    Ok(())
}
