//! What is said about servers to people: one line, bounded, without what a terminal or a model would obey.

use std::fmt::Write as _;

/// The longest detail of a failure, in bytes.
const MAX_DETAIL: usize = 300;

/// One line of at most 300 bytes; control characters and those that hide or reorder text are left out.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let word: String = word.chars().filter(|c| !is_invisible(*c)).collect();
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
        if line.len() > MAX_DETAIL {
            line.truncate(line.floor_char_boundary(MAX_DETAIL - '…'.len_utf8()));
            line.push('…');
            break;
        }
    }
    line
}

/// A line of a log: control characters are shown, not obeyed.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' || !(c.is_control() || is_invisible(c)) {
            line.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(line, "{}", c.escape_default());
        }
    }
    line
}

/// Characters that reorder or hide what is around them.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_detail_is_one_harmless_line() {
        assert_eq!(one_line(" a\r\n\x1b[31mb\t\u{202e}c "), "a [31mb c");
        assert_eq!(escaped("a\x1b[2J\tb\u{202e}"), "a\\u{1b}[2J\tb\\u{202e}");
    }

    proptest! {
        #[test]
        fn details_are_bounded(text in "\\PC{0,400}|[\\x00-\\x7f]{0,400}") {
            let line = one_line(&text);
            prop_assert!(line.len() <= MAX_DETAIL && !line.chars().any(char::is_control), "{}", line);
            prop_assert!(!escaped(&text).chars().any(|c| c.is_control() && c != '\t'));
        }
    }
}
