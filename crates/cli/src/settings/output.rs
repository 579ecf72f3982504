//! How much is said, in which form, and whether colour and progress are of use where it is read.

use super::env::{self, Environment};

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// Which of the standard streams are terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminals {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// The resolved form of everything that is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputSettings {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// `-q`: nothing but data and errors.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Colour on standard output.
    pub stdout_color: bool,
    /// Colour on standard error.
    pub stderr_color: bool,
    /// Whether a line that changes may be shown on standard error.
    pub progress: bool,
    /// Which streams are terminals.
    pub terminals: Terminals,
}

impl OutputSettings {
    /// Resolves flags, terminals and environment.
    pub fn resolve(
        json: bool,
        quiet: bool,
        verbose: u8,
        color: ColorChoice,
        terminals: Terminals,
        environment: &dyn Environment,
    ) -> Self {
        let dumb = environment.get(env::TERM).is_some_and(|term| term == "dumb");
        let forced = environment
            .get(env::CLICOLOR_FORCE)
            .is_some_and(|value| value != "0");
        let refused = environment.get(env::NO_COLOR).is_some() || dumb;
        let colored = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !refused && (terminal || forced),
        };
        Self {
            json,
            quiet,
            verbose,
            stdout_color: !json && colored(terminals.stdout),
            stderr_color: !json && colored(terminals.stderr),
            progress: terminals.stderr && !dumb && !quiet && !json,
            terminals,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn stdout_color(color: ColorChoice, terminal: bool, pairs: &[(&str, &str)]) -> bool {
        let environment: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let terminals = Terminals {
            stdout: terminal,
            ..Terminals::default()
        };
        OutputSettings::resolve(false, false, 0, color, terminals, &environment).stdout_color
    }

    #[test]
    fn colour_is_for_terminals_and_can_be_refused() {
        use ColorChoice::{Always, Auto, Never};
        assert!(stdout_color(Auto, true, &[]));
        assert!(!stdout_color(Auto, false, &[]));
        assert!(!stdout_color(Auto, true, &[("NO_COLOR", "1")]));
        assert!(!stdout_color(Auto, true, &[("TERM", "dumb")]));
        assert!(stdout_color(Auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!stdout_color(Auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(stdout_color(Always, false, &[("NO_COLOR", "1")]));
        assert!(!stdout_color(Never, true, &[]));
    }
}
