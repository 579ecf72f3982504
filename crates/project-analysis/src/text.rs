//! Texts of a project on their way into a document.

use crate::issues::secrets;

/// The longest text of a project in a document, in characters.
const MAX_CHARS: usize = 200;
/// How much of a file is looked at to tell text from binary.
const SNIFFED: usize = 8 << 10;

/// One line of bounded length, without control characters and without what looks like a secret.
pub(crate) fn excerpt(text: &str) -> String {
    // Cut first, with room for what masking takes away: nothing long is ever searched or copied.
    let head: String = text.trim().chars().take(MAX_CHARS * 4).collect();
    let masked = secrets::redact(&head);
    let mut line: String = masked
        .chars()
        .map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c })
        .take(MAX_CHARS)
        .collect();
    if masked.chars().nth(MAX_CHARS).is_some() || text.trim().len() > head.len() {
        line.push('…');
    }
    line
}

/// A path, where a tail is worth more than a head.
pub(crate) fn path(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || is_invisible(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .take(4096)
        .collect()
}

/// Whether it only changes how other characters are shown: directions, joiners, tags.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether the beginning of a file is no text.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(SNIFFED)];
    head.contains(&0)
}

/// What `name` ends with after its last dot, in lower case.
pub(crate) fn extension(name: &str) -> Option<String> {
    let base = file_name(name);
    let (stem, extension) = base.rsplit_once('.')?;
    (!stem.is_empty()).then(|| extension.to_ascii_lowercase())
}

/// The last step of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What leads to the last step, `""` at the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `name` as seen from `directory`.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

/// A relative path of a manifest, seen from `directory`, without `.` and `..`; `None` when it leaves the project.
pub(crate) fn resolve(directory: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.len() > 4096 {
        return None;
    }
    let mut steps: Vec<&str> = directory.split('/').filter(|step| !step.is_empty()).collect();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                steps.pop()?;
            }
            step => steps.push(step),
        }
    }
    Some(steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_bounded_line() {
        assert_eq!(excerpt("  a\tb\u{202e}c  "), "a b c");
        assert_eq!(excerpt(&"x".repeat(5000)).chars().count(), MAX_CHARS + 1);
        assert!(excerpt(&"x".repeat(300)).ends_with('…'));
    }

    #[test]
    fn relative_paths_stay_inside() {
        assert_eq!(resolve("a/b", "../c/./d").as_deref(), Some("a/c/d"));
        assert_eq!(resolve("a", "../.."), None);
        assert_eq!(resolve("", "/etc"), None);
        assert_eq!(resolve("", ".").as_deref(), Some(""));
    }

    #[test]
    fn extensions_are_what_follows_a_name() {
        assert_eq!(extension("a/b.RS").as_deref(), Some("rs"));
        assert_eq!(extension(".gitignore"), None);
        assert_eq!(extension("a.b/c"), None);
    }
}
