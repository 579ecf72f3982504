//! How many paths a patch changes: counted as it passes by.
//!
//! git begins each path with a line `diff --git …`. Lines of content begin with a sign, and those of binary content have no
//! space in them, so nothing else looks like it.

const HEAD: &[u8] = b"diff --git ";

/// Counts over pieces, wherever they are cut.
#[derive(Debug, Default)]
pub(crate) struct PathCount {
    paths: u64,
    /// How much of [`HEAD`] the line has so far; `None` when it is another line.
    seen: Option<usize>,
    begun: bool,
}

impl PathCount {
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        if !self.begun {
            self.begun = true;
            self.seen = Some(0);
        }
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if let Some(seen) = self.seen {
                let wanted = &HEAD[seen..];
                let common = wanted
                    .iter()
                    .zip(line)
                    .take_while(|(wanted, byte)| wanted == byte)
                    .count();
                self.seen = if common == wanted.len() {
                    self.paths += 1;
                    None
                } else if common == line.len() {
                    Some(seen + common)
                } else {
                    None
                };
            }
            if line.ends_with(b"\n") {
                self.seen = Some(0);
            }
        }
    }

    pub(crate) fn paths(&self) -> u64 {
        self.paths
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PathCount;

    const PATCH: &str = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n x\n+diff --git a/no b/no\n\
                         diff --git \"a/odd\\nname\" \"b/odd\\nname\"\nnew file mode 100644\ndiff --gi\n";

    fn count(pieces: &[&[u8]]) -> u64 {
        let mut count = PathCount::default();
        for piece in pieces {
            count.feed(piece);
        }
        count.paths()
    }

    #[test]
    fn each_path_is_counted_and_no_line_of_content() {
        assert_eq!(count(&[PATCH.as_bytes()]), 2);
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[b"diff --git a/x b/x"]), 1, "without an end of line");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_it_is_cut(cuts in prop::collection::vec(0..PATCH.len(), 0..20)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&PATCH.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&PATCH.as_bytes()[from..]);
            prop_assert_eq!(count(&pieces), 2);
        }

        #[test]
        fn any_bytes_are_survived(piece in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = count(&[&piece, &piece]);
        }
    }
}
