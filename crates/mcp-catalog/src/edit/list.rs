//! Lists whose elements have comments.
//!
//! A comment behind an element stands, for the parser, before the next one.

use toml_edit::{Array, RawString, Value};

/// Takes an element out with the comments above and behind it; that of the element before it stays.
pub(super) fn remove(list: &mut Array, index: usize) {
    let removed = list.remove(index);
    let above = prefix(&removed);
    let (before, _) = above.split_once('\n').unwrap_or((&above, ""));
    let next = list
        .get(index)
        .map_or_else(|| text(Some(list.trailing())), prefix);
    // Its first line is what stands behind the removed element.
    let rest = match next.split_once('\n') {
        Some((_, rest)) => format!("\n{rest}"),
        None => String::new(),
    };
    let joined = if before.contains('#') {
        let rest = if rest.is_empty() { "\n" } else { &rest };
        format!("{before}{rest}")
    } else if !rest.is_empty() {
        rest
    } else if index == 0 && !list.is_empty() {
        above
    } else {
        next
    };
    match list.get_mut(index) {
        Some(next) => next.decor_mut().set_prefix(joined),
        None => list.set_trailing(joined),
    }
}

fn prefix(value: &Value) -> String {
    text(value.decor().prefix())
}

fn text(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use toml_edit::DocumentMut;

    fn without(list: &str, index: usize) -> String {
        let mut document: DocumentMut = format!("a = {list}\n").parse().unwrap();
        super::remove(document["a"].as_array_mut().unwrap(), index);
        let text = document.to_string();
        text.parse::<DocumentMut>()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        text.trim_start_matches("a = ").trim_end().to_owned()
    }

    #[test]
    fn each_comment_stays_with_its_element() {
        for (list, index, left) in [
            ("[\"a\", \"b\", \"c\"]", 0, "[\"b\", \"c\"]"),
            ("[\"a\", \"b\", \"c\"]", 1, "[\"a\", \"c\"]"),
            ("[\"a\", \"b\", \"c\"]", 2, "[\"a\", \"b\"]"),
            ("[\"a\"]", 0, "[]"),
            ("[\n  \"a\", # a\n  \"b\", # b\n]", 0, "[\n  \"b\", # b\n]"),
            ("[\n  \"a\", # a\n  \"b\", # b\n]", 1, "[\n  \"a\", # a\n]"),
            ("[\n  \"a\", # a\n  \"b\" # b\n]", 1, "[\n  \"a\" # a\n]"),
            (
                "[ # all\n  # a\n  \"a\",\n  # b\n  \"b\",\n]",
                0,
                "[ # all\n  # b\n  \"b\",\n]",
            ),
            (
                "[ # all\n  # a\n  \"a\",\n  # b\n  \"b\",\n]",
                1,
                "[ # all\n  # a\n  \"a\",\n]",
            ),
            ("[\n  \"a\", # a\n]", 0, "[\n]"),
        ] {
            assert_eq!(without(list, index), left, "{list} without {index}");
        }
    }
}
