//! Text for models and people: one line where a line is asked for, cut where there is too much.

/// The largest index up to `at` that is no middle of a character.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// At most `bytes` bytes of the start.
pub(crate) fn head(text: &str, bytes: usize) -> &str {
    &text[..floor(text, bytes)]
}

/// The text as one line without control characters, at most `max` characters with an ellipsis where it was cut.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() {
            blank = !line.is_empty();
            continue;
        }
        if c.is_control() || is_invisible(c) {
            continue;
        }
        let needed = 1 + usize::from(blank);
        if count + needed > max {
            line.push('…');
            return line;
        }
        if std::mem::take(&mut blank) {
            line.push(' ');
        }
        line.push(c);
        count += needed;
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

/// The text with what is past `bytes` left out, and how much that is said in its place.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    let kept = head(text, bytes);
    if kept.len() == text.len() {
        return text.to_owned();
    }
    format!("{kept}… ({} more bytes)", text.len() - kept.len())
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut scale) = (0, 1_u64);
    while unit + 1 < UNITS.len() && count / scale >= 1024 {
        scale <<= 10;
        unit += 1;
    }
    let tenths = u128::from(count) * 10 / u128::from(scale);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[unit]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_single_and_short() {
        assert_eq!(one_line("  a\n\tb\u{1b}[2J  c ", 20), "a b[2J c");
        assert_eq!(one_line("日本語", 2), "日本…");
        assert_eq!(one_line("a\u{202e}b", 9), "ab");
        assert_eq!(cut("日本", 4), "日… (3 more bytes)");
        assert_eq!(bytes(1536), "1.5 KiB");
    }

    proptest! {
        #[test]
        fn nothing_that_breaks_a_line_is_left(text in any::<String>(), max in 0_usize..50) {
            let line = one_line(&text, max);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.chars().count() <= max + 1);
        }

        #[test]
        fn cuts_never_split_characters(text in any::<String>(), at in 0_usize..100) {
            prop_assert!(text.starts_with(head(&text, at)));
        }
    }
}
