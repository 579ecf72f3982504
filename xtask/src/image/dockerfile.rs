//! One Dockerfile, taken apart into its stages.
//!
//! The legacy builder runs every stage up to the wanted one, and both builders forget their caches. Built one by one, each
//! from the image of the one before, stages are rebuilt by our rules and not by the state of a cache.

use std::path::{Path, PathBuf};

use xtask::error::{Context, Error, Result};

/// The text of a Dockerfile.
#[derive(Debug)]
pub(crate) struct Dockerfile {
    path: PathBuf,
    text: String,
}

impl Dockerfile {
    /// Reads the Dockerfile of a directory.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("Dockerfile");
        let text = std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path, text })
    }

    /// All of it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The instructions of a stage, without its `FROM` line, comments and empty lines.
    pub(crate) fn stage(&self, name: &str) -> Result<String> {
        instructions(&self.text, name)
            .ok_or_else(|| Error::new(format!("{} has no stage called {name}", self.path.display())))
    }
}

/// A Dockerfile of a single stage on top of an image.
pub(crate) fn on_top_of(parent: &str, instructions: &str) -> String {
    format!("FROM {parent}\n{instructions}")
}

fn instructions(text: &str, wanted: &str) -> Option<String> {
    let mut lines = text.lines().filter(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    lines.find(|line| stage_name(line) == Some(wanted))?;
    let stage = lines.take_while(|line| !begins_stage(line));
    Some(stage.map(|line| format!("{line}\n")).collect())
}

fn begins_stage(line: &str) -> bool {
    line.split_whitespace().next() == Some("FROM")
}

/// The name in `FROM image AS name`.
fn stage_name(line: &str) -> Option<&str> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words.as_slice() {
        ["FROM", _, "AS", name] => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtask::workspace;

    const TEXT: &str = "# head\nARG BASE=x\n\nFROM ${BASE} AS one\nRUN a \\\n  # why\n  b\n\n# two\nFROM one AS two\nCOPY c d\n";

    #[test]
    fn a_stage_is_what_stands_between_two_froms() {
        assert_eq!(instructions(TEXT, "one").as_deref(), Some("RUN a \\\n  b\n"));
        assert_eq!(instructions(TEXT, "two").as_deref(), Some("COPY c d\n"));
        assert_eq!(instructions(TEXT, "three"), None);
        assert_eq!(on_top_of("p:1", "COPY c d\n"), "FROM p:1\nCOPY c d\n");
    }

    #[test]
    fn our_own_dockerfiles_have_the_stages_that_we_build() {
        let images = workspace::root().join("images");
        for (dir, stages) in [
            ("session", &["tools", "agent", "session"][..]),
            ("test-foreign", &["foreign"]),
            ("server", &["tree", "server"]),
        ] {
            let dockerfile = Dockerfile::read(&images.join(dir)).expect("a Dockerfile");
            for stage in stages {
                assert!(
                    !dockerfile.stage(stage).expect("the stage").is_empty(),
                    "{dir} {stage}"
                );
            }
        }
    }
}
