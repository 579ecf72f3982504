//! The digest of everything that an image is made from: equal digests, equal images.

use sha2::{Digest, Sha256};

/// Collects named inputs. Names and contents are length-prefixed, so that no two lists can look the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs(Sha256);

impl Inputs {
    pub(crate) fn add(&mut self, name: &str, content: impl AsRef<[u8]>) {
        for part in [name.as_bytes(), content.as_ref()] {
            self.0
                .update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            self.0.update(part);
        }
    }

    /// The digest in lower-case hexadecimal.
    pub(crate) fn digest(self) -> String {
        self.0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(inputs: &[(&str, &str)]) -> String {
        let mut collected = Inputs::default();
        for (name, content) in inputs {
            collected.add(name, content);
        }
        collected.digest()
    }

    #[test]
    fn every_input_counts_and_borders_do_too() {
        let one = digest(&[("a", "bc"), ("d", "e")]);
        assert_eq!(one.len(), 64);
        assert_eq!(one, digest(&[("a", "bc"), ("d", "e")]));
        for other in [
            vec![("ab", "c"), ("d", "e")],
            vec![("d", "e"), ("a", "bc")],
            vec![("a", "bc")],
        ] {
            assert_ne!(one, digest(&other));
        }
    }
}
