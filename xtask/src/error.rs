//! What a failed task tells its user: what happened, why, and what to do next.
//!
//! Nobody but a person reads these errors, so there is no kind to match on; there is always room for a hint.

use std::error::Error as StdError;
use std::fmt;

/// The result of a task or a part of one.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed task. `Display` is one line: what could not be done. The rest is read through the accessors.
#[derive(Debug)]
pub struct Error {
    message: String,
    output: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure; `message` is one line that says what could not be done.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            output: None,
            hint: None,
            source: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the last lines that a program wrote before it failed.
    #[must_use]
    pub fn output(mut self, output: impl Into<String>) -> Self {
        let output = output.into();
        self.output = (!output.trim().is_empty()).then_some(output);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The whole story, for a terminal.
    pub fn report(&self) -> String {
        let mut text = format!("error: {}", self.message);
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            text.push_str(&format!("\n  because: {error}"));
            cause = error.source();
        }
        for line in self.output.iter().flat_map(|output| output.lines()) {
            text.push_str(&format!("\n  | {line}"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  hint: {hint}"));
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// Says what was being done when an error of another kind came up.
pub trait Context<T> {
    /// Turns the error into the cause of an [`Error`] with the message that `doing` makes.
    ///
    /// # Errors
    /// When `self` is one.
    fn context(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: StdError + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(doing()).source(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_why_and_what_to_do() {
        let error = Error::new("cannot build the image")
            .source(std::io::Error::other("disk full"))
            .output("Step 3/9\nno space left\n")
            .hint("free some space");

        assert_eq!(error.to_string(), "cannot build the image");
        assert_eq!(
            error.report(),
            "error: cannot build the image\n  because: disk full\n  | Step 3/9\n  | no space left\n  hint: free some space"
        );
    }
}
