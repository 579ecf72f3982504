//! What the link keeps for us about a terminal: enough for another manager to know it again.
//!
//! A terminal lives as long as its process in the container, so what is known about it is kept there and nowhere else. It
//! comes back from the container, where everything is an attacker's: it is shown, and nothing is decided by it.

use session_link::process::MAX_NOTE;

use crate::terminal::TerminalProgram;

/// The note about what runs in a terminal. Of a long command only the beginning.
pub(super) fn write(program: &TerminalProgram) -> String {
    let text = |program: &TerminalProgram| serde_json::to_string(program).unwrap_or_default();
    let TerminalProgram::Command { argv } = program else {
        return text(program);
    };
    let mut kept: Vec<String> = Vec::new();
    for argument in argv {
        for length in [argument.len(), 64, 0] {
            kept.push(argument[..argument.floor_char_boundary(length)].to_owned());
            if text(&TerminalProgram::Command { argv: kept.clone() }).len() <= MAX_NOTE {
                break;
            }
            kept.pop();
        }
        if kept.last().is_none_or(|last| last.len() < argument.len()) {
            break;
        }
    }
    text(&TerminalProgram::Command { argv: kept })
}

/// What a note says; a command without words when it says nothing.
pub(super) fn read(note: &str) -> TerminalProgram {
    let unknown = TerminalProgram::Command { argv: Vec::new() };
    if note.len() > MAX_NOTE {
        return unknown;
    }
    serde_json::from_str(note).unwrap_or(unknown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn notes_are_short_and_say_how_a_command_begins(argv in prop::collection::vec(".{0,300}", 0..12)) {
            let note = write(&TerminalProgram::Command { argv: argv.clone() });
            prop_assert!(note.len() <= MAX_NOTE);
            let TerminalProgram::Command { argv: kept } = read(&note) else {
                return Err(TestCaseError::fail("another program"));
            };
            prop_assert!(kept.len() <= argv.len());
            let whole = kept.len().saturating_sub(1);
            prop_assert_eq!(&kept[..whole], &argv[..whole]);
            prop_assert!(kept.iter().zip(&argv).all(|(kept, argument)| argument.starts_with(kept.as_str())));
            let short = serde_json::to_string(&TerminalProgram::Command { argv: argv.clone() }).unwrap_or_default();
            prop_assert!(short.len() > MAX_NOTE || kept == argv, "nothing is cut without need");
        }

        #[test]
        fn whatever_comes_back_is_read(note in any::<String>()) {
            let _ = read(&note);
        }
    }

    #[test]
    fn the_other_programs_are_known_again() {
        for program in [TerminalProgram::Shell, TerminalProgram::Agent] {
            assert_eq!(read(&write(&program)), program);
        }
    }
}
