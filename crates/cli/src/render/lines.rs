//! What changed between two texts, line by line.

/// More lines than this are compared by nobody, and would take long.
const MAX_LINES: usize = 2000;

/// The lines of both texts, in order: `(' ', same)`, `('-', gone)`, `('+', new)`.
pub fn line_diff<'a>(before: &'a str, after: &'a str) -> Vec<(char, &'a str)> {
    let before: Vec<&str> = before.lines().collect();
    let after: Vec<&str> = after.lines().collect();
    if before.len() > MAX_LINES || after.len() > MAX_LINES {
        let gone = before.into_iter().map(|line| ('-', line));
        return gone.chain(after.into_iter().map(|line| ('+', line))).collect();
    }
    let common = longest_common(&before, &after);
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::with_capacity(before.len() + after.len());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            lines.push((' ', before[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == after.len() || (i < before.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', before[i]));
            i += 1;
        } else {
            lines.push(('+', after[j]));
            j += 1;
        }
    }
    lines
}

/// How many lines the rests of both have in common, in order, from each pair of places on.
fn longest_common(before: &[&str], after: &[&str]) -> Vec<Vec<u16>> {
    let mut common = vec![vec![0_u16; after.len() + 1]; before.len() + 1];
    for i in (0..before.len()).rev() {
        for j in (0..after.len()).rev() {
            common[i][j] = if before[i] == after[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_stays_is_said_once() {
        assert_eq!(
            line_diff("a\nb\nc", "a\nx\nc\nd"),
            [(' ', "a"), ('-', "b"), ('+', "x"), (' ', "c"), ('+', "d")]
        );
        assert_eq!(line_diff("", "a"), [('+', "a")]);
    }

    proptest! {
        #[test]
        fn both_texts_can_be_read_from_it(before in "[ab\n]{0,24}", after in "[ab\n]{0,24}") {
            let lines = line_diff(&before, &after);
            let without = |sign| lines.iter().filter(|(s, _)| *s != sign).map(|(_, line)| *line).collect::<Vec<_>>();
            prop_assert_eq!(without('+'), before.lines().collect::<Vec<_>>());
            prop_assert_eq!(without('-'), after.lines().collect::<Vec<_>>());
        }
    }
}
