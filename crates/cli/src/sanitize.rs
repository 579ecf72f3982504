//! Texts from containers made safe for a terminal.
//!
//! What an agent says, a tool answers or a file is called is an attacker's choice. Written to a terminal as it is, it
//! could move the cursor over earlier lines, set the window's title or the clipboard, or reorder what a person reads.
//! Here every character that a terminal obeys or that reorders text becomes a visible escape such as `\u{1b}`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Makes `text` safe and keeps it on one line: line breaks and tabs become single spaces.
pub fn one_line(text: &str) -> Cow<'_, str> {
    clean(text.trim(), |c| matches!(c, '\n' | '\t' | '\r').then_some(" "))
}

/// Makes `text` safe and keeps its lines; a carriage return before a line feed is dropped.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") {
        return Cow::Owned(clean(&text.replace("\r\n", "\n"), keep_layout).into_owned());
    }
    clean(text, keep_layout)
}

fn keep_layout(c: char) -> Option<&'static str> {
    match c {
        '\n' => Some("\n"),
        '\t' => Some("\t"),
        _ => None,
    }
}

/// `exempt` says how a layout character is written; everything else that is not harmless is escaped.
fn clean(text: &str, exempt: impl Fn(char) -> Option<&'static str>) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match exempt(c) {
            Some(written) => safe.push_str(written),
            None if is_unsafe(c) => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            None => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters (C0, DEL, C1), bidirectional controls, line and paragraph separators, invisible tags. The joiners
/// and variation selectors that emoji and several scripts are made of stay.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// At most `max` characters of `text`, with an ellipsis where it was cut.
pub fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept: String = text.chars().take(max.saturating_sub(1)).collect();
            Cow::Owned(format!("{}…", kept.trim_end()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(one_line("\x1b]0;owned\x07 ok"), "\\u{1b}]0;owned\\u{7} ok");
        assert_eq!(one_line("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(lines("a\r\nb\rc\n\td"), "a\nb\\u{d}c\n\td");
        assert_eq!(one_line("user\u{202e}gpj.exe"), "user\\u{202e}gpj.exe");
    }

    #[test]
    fn ordinary_text_is_not_touched() {
        for text in ["plain", "größer", "日本語", "👩\u{200d}💻", "a  b"] {
            assert!(matches!(one_line(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn shortening_counts_characters() {
        assert_eq!(shorten("日本語", 3), "日本語");
        assert_eq!(shorten("日本語文", 3), "日本…");
        assert_eq!(shorten("abc", 0), "…");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in any::<String>()) {
            prop_assert!(!one_line(&text).contains(is_unsafe));
            prop_assert!(!lines(&text).replace(['\n', '\t'], "").contains(is_unsafe));
        }
    }
}
