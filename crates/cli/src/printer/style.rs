//! The few styles that we use, and nothing when colour is off.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// Paints texts, or leaves them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Paints when `on`.
    pub fn new(on: bool) -> Self {
        Self { on }
    }

    fn apply(self, style: Style, text: impl Display) -> String {
        if self.on {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }

    /// Headings and names.
    pub fn bold(self, text: impl Display) -> String {
        self.apply(Style::new().bold(), text)
    }

    /// What is of lesser interest.
    pub fn dim(self, text: impl Display) -> String {
        self.apply(Style::new().dimmed(), text)
    }

    /// Failures and removed lines.
    pub fn red(self, text: impl Display) -> String {
        self.apply(AnsiColor::Red.on_default(), text)
    }

    /// Success and added lines.
    pub fn green(self, text: impl Display) -> String {
        self.apply(AnsiColor::Green.on_default(), text)
    }

    /// Warnings.
    pub fn yellow(self, text: impl Display) -> String {
        self.apply(AnsiColor::Yellow.on_default(), text)
    }

    /// Hints and places.
    pub fn cyan(self, text: impl Display) -> String {
        self.apply(AnsiColor::Cyan.on_default(), text)
    }
}
