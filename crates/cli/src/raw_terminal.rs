//! The terminal in front of which the user sits, while a program in a session has it.
//!
//! Raw mode hands every key on as it is and shows nothing by itself. Whatever happens, the terminal is given back as it was:
//! a shell with a terminal that echoes nothing is worse than any error.

use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{self, OptionalActions, Termios};
use session_core::error::{Error, ErrorKind, Result};
use session_core::terminal::TerminalSize;

const OPERATION: &str = "attach to the terminal";
/// What programs that are left in the middle may have switched on: the second screen, a hidden cursor, the mouse, pasting in
/// brackets, colours.
pub const RESET: &[u8] =
    b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[>4m\x1b[0m";
/// The largest size that a terminal in a session can have.
const MAX_SIDE: u16 = 1000;

/// A terminal in raw mode. Dropping it gives the terminal back as it was.
#[derive(Debug)]
pub struct RawTerminal {
    terminal: OwnedFd,
    before: Termios,
}

impl RawTerminal {
    /// Puts a terminal into raw mode.
    ///
    /// # Errors
    /// `InvalidArgument` when it is none.
    pub fn enter(terminal: impl AsFd) -> Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned().map_err(|source| {
            Error::new(ErrorKind::HostIo, OPERATION, "it cannot be used").with_source(source)
        })?;
        let before = termios::tcgetattr(&terminal).map_err(|source| no_terminal().with_source(source))?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&terminal, OptionalActions::Drain, &raw).map_err(|source| {
            Error::new(ErrorKind::HostIo, OPERATION, "its mode cannot be set").with_source(source)
        })?;
        Ok(Self { terminal, before })
    }

    /// Its size now. What tells none, or too large a one, is taken for a usual one.
    pub fn size(&self) -> TerminalSize {
        size_of(&self.terminal)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // What was typed for the program that is left is not for the shell.
        let _ = termios::tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// The size of a terminal, within what sessions take.
pub fn size_of(terminal: impl AsFd) -> TerminalSize {
    match termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => TerminalSize {
            rows: size.ws_row.min(MAX_SIDE),
            columns: size.ws_col.min(MAX_SIDE),
        },
        _ => TerminalSize::default(),
    }
}

/// What is said where there is no terminal.
pub fn no_terminal() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "standard input and output are not a terminal",
    )
    .with_hint("run it in a terminal; `cofferdam exec` runs programs without one")
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize};

    use super::*;

    fn pair() -> (OwnedFd, std::fs::File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .unwrap();
        (master, slave)
    }

    fn echoes(terminal: &std::fs::File) -> bool {
        termios::tcgetattr(terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
    }

    #[test]
    fn a_terminal_is_given_back_as_it_was_also_by_a_panic() {
        let (_master, slave) = pair();
        assert!(echoes(&slave));
        let raw = RawTerminal::enter(&slave).unwrap();
        assert!(!echoes(&slave));
        drop(raw);
        assert!(echoes(&slave));
        let unwound = std::panic::catch_unwind(|| {
            let _raw = RawTerminal::enter(&slave).unwrap();
            panic!("on purpose");
        });
        assert!(unwound.is_err() && echoes(&slave));
    }

    #[test]
    fn sizes_are_within_what_sessions_take() {
        let (_master, slave) = pair();
        assert_eq!(
            size_of(&slave),
            TerminalSize::default(),
            "a terminal that tells none"
        );
        let huge = Winsize {
            ws_row: 5000,
            ws_col: 33,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        termios::tcsetwinsize(&slave, huge).unwrap();
        assert_eq!(
            size_of(&slave),
            TerminalSize {
                rows: 1000,
                columns: 33
            }
        );
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(
            RawTerminal::enter(&reader).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
}
