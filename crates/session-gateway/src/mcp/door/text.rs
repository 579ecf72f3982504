//! An agent's, an operator's or a server's words as part of a line of ours.

/// One line without control characters and what hides or reorders others, at most `max` bytes with an ellipsis where it
/// was cut.
pub(super) fn line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        if c.is_control() || is_invisible(c) || (c == ' ' && line.ends_with(' ')) {
            continue;
        }
        if line.len() + c.len_utf8() > max {
            line.push('…');
            break;
        }
        line.push(c);
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_single_and_short() {
        assert_eq!(line("a\n\tb\u{1b}[2J  c", 20), "a b[2J c");
        assert_eq!(line("日本語", 6), "日本…");
        assert_eq!(line("a\u{202e}b", 9), "ab");
    }

    proptest! {
        #[test]
        fn nothing_that_breaks_a_line_is_left(text in any::<String>(), max in 0_usize..50) {
            let line = line(&text, max);
            prop_assert!(!line.chars().any(|c| c.is_control() || is_invisible(c)));
            prop_assert!(line.len() <= max + '…'.len_utf8());
        }
    }
}
