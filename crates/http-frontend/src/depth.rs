//! How deep a JSON text is nested, before anything is built of it: what is read recursively could exhaust the stack.

/// Whether arrays and objects of `text` are nested more than `limit` deep. Looks at brackets alone; whether it is JSON at
/// all is for the parser to say.
pub(crate) fn is_deeper(text: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_and_those_in_strings_do_not() {
        assert!(!is_deeper(br#"{"a":[[1]]}"#, 3));
        assert!(is_deeper(br#"{"a":[[1]]}"#, 2));
        assert!(!is_deeper(br#""[[[[\"[[[[""#, 0));
        assert!(!is_deeper(br"[][][][]", 1));
        assert!(is_deeper(&[b'['; 65], 64));
    }
}
