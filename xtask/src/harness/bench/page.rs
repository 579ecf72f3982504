//! Writes docs/benchmarks.md: the table between two marks, and the reasons that people wrote below it, which stay.

use xtask::error::{Context, Error, Result};
use xtask::workspace;

use super::facts::Facts;
use super::table::{Row, to_markdown};

const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- begin: written by `cargo xtask bench --write` -->";
const END: &str = "<!-- end -->";

const INTRODUCTION: &str = "# Benchmarks

What Cofferdam costs, and what the engine costs without it: both measured in the same run, on the same engine, in alternating pairs.
Medians, with the 99th percentile in brackets (of few rounds that is the slowest one). A baseline is what somebody without us would do,
done as directly as possible.
";

/// Puts the new table into the page.
pub(super) fn write(facts: &Facts, rows: &[Row]) -> Result<()> {
    let path = workspace::root().join(PAGE);
    let old = match std::fs::read_to_string(&path) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("{INTRODUCTION}\n{BEGIN}\n{END}\n")
        }
        Err(error) => return Err(Error::new(format!("cannot read {PAGE}")).source(error)),
    };
    let new = replaced(
        &old,
        &format!("{facts}: `cargo xtask bench --write`\n\n{}", to_markdown(rows)),
    )?;
    std::fs::write(&path, new).context(|| format!("cannot write {PAGE}"))
}

fn replaced(page: &str, table: &str) -> Result<String> {
    let parts = page
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| {
        Error::new(format!("{PAGE} has lost its marks")).hint(format!(
            "put these two lines where the table belongs:\n{BEGIN}\n{END}"
        ))
    })?;
    Ok(format!("{before}{BEGIN}\n{}\n\n{END}{after}", table.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("# Before\n\n{BEGIN}\nold\n{END}\n\nWhy.\n");
        let once = replaced(&page, "new\n").expect("it has its marks");
        assert_eq!(once, format!("# Before\n\n{BEGIN}\nnew\n\n{END}\n\nWhy.\n"));
        assert_eq!(replaced(&once, "new\n").expect("still"), once);
        assert!(replaced("# No marks\n", "new").is_err());
    }
}
