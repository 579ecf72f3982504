//! What we claim, checked one by one. A claim that does not hold is shown at once and fails the demo at its end.

use xtask::error::{Error, Result};
use xtask::reporter::Reporter;

/// The claims so far.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    reporter: &'a Reporter,
    broken: Vec<String>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(reporter: &'a Reporter) -> Self {
        Self {
            reporter,
            broken: Vec::new(),
        }
    }

    /// Shows a claim and whether it holds, with what was seen.
    pub(super) fn check(&mut self, claim: &str, holds: bool, seen: &str) {
        let separator = if seen.is_empty() { "" } else { ": " };
        let line = format!("{claim}{separator}{}", shown(seen));
        if holds {
            self.reporter.notice(&format!("  ✓ {line}"));
        } else {
            self.reporter.notice(&format!("  ✗ {line}"));
            self.broken.push(line);
        }
    }

    /// # Errors
    /// When a claim did not hold.
    pub(super) fn verdict(self) -> Result<()> {
        if self.broken.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!("{} claims do not hold", self.broken.len())).output(self.broken.join("\n")))
    }
}

/// What comes out of a container is data: it cannot drive the terminal.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_claim_breaks_the_demo() {
        let reporter = Reporter::new();
        let mut claims = Claims::new(&reporter);
        claims.check("it holds", true, "");
        claims.check("it does not", false, "seen \x1b[31m 'and' \"said\"");
        let report = claims.verdict().expect_err("one is broken").report();
        assert!(
            report.contains("1 claims") && report.contains("it does not: seen \\u{1b}[31m 'and' \"said\""),
            "{report}"
        );
    }
}
