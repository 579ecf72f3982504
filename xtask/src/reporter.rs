//! How a task shows what it does: one line per step, with its time.
//!
//! On a terminal a running step is a spinner with the last line of the program it waits for. Elsewhere (CI) the same
//! step says every half a minute that it is alive. All of this goes to stderr; data goes to stdout by [`Reporter::data`].

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::Error;

const HEARTBEAT: Duration = Duration::from_secs(30);
const LAST_LINE_CHARS: usize = 70;

/// Where all tasks report to.
#[derive(Debug)]
pub struct Reporter {
    terminal: bool,
}

impl Reporter {
    /// Reports to this process's streams.
    #[expect(
        clippy::new_without_default,
        reason = "it looks at the streams; a default that does is a surprise"
    )]
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Whether a person is watching.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Starts a step; it ends with [`Step::done`], or as failed when it is dropped before.
    pub fn step(&self, what: impl Into<String>) -> Step {
        let what = what.into();
        let now = Instant::now();
        let bar = self.terminal.then(|| spinner(&what));
        Step {
            what,
            started: now,
            last_sign: now,
            bar,
            ended: false,
        }
    }

    /// Says something that the user must know before it happens.
    pub fn notice(&self, text: &str) {
        say(text);
    }

    /// Prints a result of the task, for people and programs alike, to stdout.
    pub fn data(&self, text: &str) {
        // A closed stdout (`| head`) is the reader's choice and no failure of the task.
        let _closed = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Prints why the task failed.
    pub fn failure(&self, error: &Error) {
        say(&error.report());
    }
}

/// A running step.
#[derive(Debug)]
pub struct Step {
    what: String,
    started: Instant,
    last_sign: Instant,
    bar: Option<ProgressBar>,
    ended: bool,
}

impl Step {
    /// Shows the newest line of whatever the step waits for.
    pub fn update(&mut self, line: &str) {
        let line = printable(line);
        if line.is_empty() {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None if self.last_sign.elapsed() >= HEARTBEAT => {
                self.last_sign = Instant::now();
                say(&format!(
                    "  … {} ({}): {line}",
                    self.what,
                    seconds(self.started.elapsed())
                ));
            }
            None => {}
        }
    }

    /// How long the step has been running.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the step; `outcome` says what is true now, for example "up to date".
    pub fn done(mut self, outcome: &str) {
        let separator = if outcome.is_empty() { "" } else { ": " };
        self.end(&format!("  ✓ {}{separator}{outcome}", self.what));
    }

    fn end(&mut self, line: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.ended = true;
        say(&format!("{line} ({})", seconds(self.started.elapsed())));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.end(&format!("  ✗ {}", self.what));
        }
    }
}

fn spinner(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {prefix} ({elapsed}) {wide_msg:.dim}");
    let bar = ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        .with_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn say(text: &str) {
    // Nothing is left to tell anyone when stderr itself is gone.
    let _gone = writeln!(std::io::stderr().lock(), "{text}");
}

/// A duration for people: tenths of a second.
pub fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

/// A program's line, cut to size and without what could drive the terminal.
fn printable(line: &str) -> String {
    line.trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(LAST_LINE_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_line_cannot_drive_the_terminal() {
        assert_eq!(printable("  Get:1 \x1b[31mred\x07 \n"), "Get:1 [31mred");
        assert_eq!(printable(&"x".repeat(500)).len(), LAST_LINE_CHARS);
    }

    #[test]
    fn times_are_tenths_of_seconds() {
        assert_eq!(seconds(Duration::from_millis(1_249)), "1.2 s");
    }
}
