//! Relative links of Markdown files.

use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;

use super::Issues;
use crate::project::{File, Project};
use crate::text;

/// A link that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeadLink {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
    /// Where it leads, as it is written.
    pub target: String,
}

/// `[text](target "title")`, and `[label]: target`.
static INLINE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"\]\(\s*<?([^()<>\s]+)>?(?:\s+["'][^"']*["'])?\s*\)"#).ok());
static REFERENCE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^ {0,3}\[[^\]^][^\]]*\]:\s*<?([^<>\s]+)>?").ok());
/// What is between backticks is no link.
static CODE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"`[^`]*`").ok());

pub(super) struct Reader<'a> {
    project: &'a Project,
    file: &'a File,
    /// The fence that ends the block of code in which the reader is.
    fence: Option<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(project: &'a Project, file: &'a File) -> Self {
        Self {
            project,
            file,
            fence: None,
        }
    }

    pub(super) fn look(&mut self, number: u64, line: &str, issues: &mut Issues) {
        let start = line.trim_start();
        for fence in ["```", "~~~"] {
            if start.starts_with(fence) && self.fence.is_none_or(|open| open == fence) {
                self.fence = if self.fence.is_some() { None } else { Some(fence) };
                return;
            }
        }
        if self.fence.is_some() {
            return;
        }
        let line = match CODE.as_ref() {
            Some(code) if line.contains('`') => code.replace_all(line, ""),
            _ => line.into(),
        };
        for pattern in [&INLINE, &REFERENCE] {
            let found = pattern.iter().flat_map(|pattern| pattern.captures_iter(&line));
            for target in found {
                if self.is_dead(&target[1]) {
                    issues.dead_links.push(DeadLink {
                        path: self.file.path.clone(),
                        line: number,
                        target: text::excerpt(&target[1]),
                    });
                }
            }
        }
    }

    fn is_dead(&self, target: &str) -> bool {
        let target = target.split(['#', '?']).next().unwrap_or_default();
        let elsewhere = target.is_empty()
            || target.starts_with("//")
            || target.contains("://")
            || target.starts_with("mailto:")
            || target.contains("{{")
            || target.split('/').next().is_some_and(|step| step.contains(':'));
        if elsewhere {
            return false;
        }
        let target = decoded(target);
        // A leading slash means the root of the project to those who render it.
        let path = match target.strip_prefix('/') {
            Some(rooted) => text::resolve("", rooted),
            None => text::resolve(self.file.directory(), &target),
        };
        // What leads out of the project may well be there.
        path.is_some_and(|path| !self.project.has(&path))
    }
}

/// `%20` and its kin.
fn decoded(target: &str) -> String {
    let mut bytes = Vec::with_capacity(target.len());
    let mut rest = target.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
