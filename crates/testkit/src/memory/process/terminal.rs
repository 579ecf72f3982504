//! Terminals of processes: pseudo-terminals of this machine, so that echo, lines and sizes are the kernel's own. Only the
//! keys that send signals do nothing, because programs in here are not processes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, LocalModes, OptionalActions, OutputModes, Termios, Winsize};
use session_link::WindowSize;
use tokio::net::unix::pipe;

/// The end that init holds.
#[derive(Debug)]
pub(in crate::memory) struct Terminal {
    end: OwnedFd,
    state: Mutex<session_link::Terminal>,
}

impl Terminal {
    /// A new terminal, and the program's end of it.
    pub(super) fn open(wanted: &session_link::Terminal) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let end = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&end)?;
        let theirs = rustix::pty::ioctl_tiocgptpeer(&end, flags)?;
        for end in [&end, &theirs] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let terminal = Self {
            end,
            state: Mutex::new(wanted.clone()),
        };
        terminal.resize(wanted.size)?;
        terminal.change(|modes| modes.input_modes |= InputModes::IUTF8)?;
        Ok((terminal, theirs))
    }

    pub(in crate::memory) fn resize(&self, size: WindowSize) -> io::Result<()> {
        let window = Winsize {
            ws_row: size.rows(),
            ws_col: size.columns(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&self.end, window)?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).size = size;
        Ok(())
    }

    pub(super) fn info(&self) -> session_link::Terminal {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Rows and columns, as the kernel knows them.
    pub(in crate::memory) fn size(&self) -> io::Result<(u16, u16)> {
        let window = rustix::termios::tcgetwinsize(&self.end)?;
        Ok((window.ws_row, window.ws_col))
    }

    /// Does what `stty` does for a word; `false` for one that it does not know.
    pub(in crate::memory) fn set(&self, word: &str) -> io::Result<bool> {
        match word {
            "raw" => self.change(Termios::make_raw)?,
            "-echo" => self.change(|modes| modes.local_modes -= LocalModes::ECHO)?,
            "-opost" => self.change(|modes| modes.output_modes -= OutputModes::OPOST)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn change(&self, change: impl FnOnce(&mut Termios)) -> io::Result<()> {
        let mut modes = rustix::termios::tcgetattr(&self.end)?;
        change(&mut modes);
        Ok(rustix::termios::tcsetattr(
            &self.end,
            OptionalActions::Now,
            &modes,
        )?)
    }

    /// What the program writes.
    pub(super) fn output(&self) -> io::Result<pipe::Receiver> {
        pipe::Receiver::from_owned_fd_unchecked(self.end.try_clone()?)
    }

    /// What is typed.
    pub(super) fn input(&self) -> io::Result<pipe::Sender> {
        pipe::Sender::from_owned_fd_unchecked(self.end.try_clone()?)
    }
}
