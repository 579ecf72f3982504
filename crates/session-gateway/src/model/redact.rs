//! Keeps the credential out of answers: a provider that repeats a refused key in its error message must not hand that key
//! to the session.
//!
//! A stream is searched across all chunk borders. Only bytes that may be the beginning of the key wait for the next chunk,
//! so an answer that holds no such bytes passes at once and without a copy. A hit is masked by as many other bytes:
//! lengths, framing and everything around it stay as they were.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use secrecy::{ExposeSecret, SecretSlice};

/// The text to find, with the table of Knuth, Morris and Pratt: linear in the stream whatever an attacker sends.
pub(crate) struct Needle {
    bytes: SecretSlice<u8>,
    /// For each prefix, the length of the longest proper prefix of it that is also its suffix.
    borders: Vec<usize>,
    /// A byte that the text does not hold, so that masking can never make a new hit.
    mask: u8,
}

impl Needle {
    /// # Panics
    /// Never for what `Credential` makes: the text is not empty.
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut borders = vec![0; text.len()];
        let mut length = 0;
        for index in 1..text.len() {
            while length > 0 && text[index] != text[length] {
                length = borders[length - 1];
            }
            if text[index] == text[length] {
                length += 1;
            }
            borders[index] = length;
        }
        let mask = (b'*'..=b'~').find(|byte| !text.contains(byte)).unwrap_or(b' ');
        Self {
            bytes: SecretSlice::from(text.to_vec()),
            borders,
            mask,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.borders.len()
    }

    /// Goes on from `matched` bytes of the text; gives the ends of the hits in `chunk` and what is matched after it.
    fn scan(&self, mut matched: usize, chunk: &[u8]) -> (Vec<usize>, usize) {
        let text = self.bytes.expose_secret();
        let mut ends = Vec::new();
        let mut at = 0;
        while at < chunk.len() {
            if matched == 0 {
                // Nearly all of an answer cannot even begin the text.
                let Some(skipped) = memchr(text[0], &chunk[at..]) else {
                    break;
                };
                at += skipped;
            }
            let byte = chunk[at];
            at += 1;
            while matched > 0 && text[matched] != byte {
                matched = self.borders[matched - 1];
            }
            if text[matched] == byte {
                matched += 1;
            }
            if matched == text.len() {
                ends.push(at);
                matched = 0;
            }
        }
        (ends, matched)
    }

    /// A complete text with every hit masked, or `None` when there is none.
    pub(crate) fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (ends, _) = self.scan(0, text);
        if ends.is_empty() {
            return None;
        }
        let mut masked = text.to_vec();
        for end in ends {
            masked[end - self.len()..end].fill(self.mask);
        }
        Some(masked)
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Needle").finish_non_exhaustive()
    }
}

/// The state of one stream.
#[derive(Debug)]
pub(crate) struct Redactor {
    needle: Arc<Needle>,
    /// How many bytes are held back. They equal the beginning of the text, so they need not be kept.
    held: usize,
}

impl Redactor {
    pub(crate) fn new(needle: Arc<Needle>) -> Self {
        Self { needle, held: 0 }
    }

    /// How many bytes are held back.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes the next chunk and gives what may pass now, which may be nothing.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Bytes {
        let before = self.held;
        let (ends, after) = self.needle.scan(before, &chunk);
        self.held = after;
        if ends.is_empty() && before == 0 {
            return chunk.slice(..chunk.len() - after);
        }
        let mut out = BytesMut::with_capacity(before + chunk.len());
        out.extend_from_slice(&self.needle.bytes.expose_secret()[..before]);
        out.extend_from_slice(&chunk);
        for end in ends {
            let end = before + end;
            out[end - self.needle.len()..end].fill(self.needle.mask);
        }
        out.truncate(out.len() - after);
        out.freeze()
    }

    /// The stream ended: what was held back is not the key after all.
    pub(crate) fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        Bytes::copy_from_slice(&self.needle.bytes.expose_secret()[..held])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(needle: &Arc<Needle>, chunks: &[&[u8]]) -> Vec<u8> {
        let mut redactor = Redactor::new(Arc::clone(needle));
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend_from_slice(&redactor.push(Bytes::copy_from_slice(chunk)));
        }
        out.extend_from_slice(&redactor.finish());
        out
    }

    fn contains(text: &[u8], needle: &[u8]) -> bool {
        text.windows(needle.len()).any(|window| window == needle)
    }

    #[test]
    fn masks_at_every_pair_of_splits() {
        let key = b"sk-ant-sk-ant-key";
        let needle = Arc::new(Needle::new(key));
        let text = [b"invalid x-api-key sk-ant-".as_slice(), key, b" sk-ant-sk- end"].concat();
        let expected = [
            b"invalid x-api-key sk-ant-".as_slice(),
            &[b'*'; 17],
            b" sk-ant-sk- end",
        ]
        .concat();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let got = stream(&needle, &[&text[..first], &text[first..second], &text[second..]]);
                assert_eq!(got, expected, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn passes_other_bytes_at_once_and_without_a_copy() {
        let mut redactor = Redactor::new(Arc::new(Needle::new(b"secret-key")));
        let chunk = Bytes::from_static(b"data: {}\n\n");
        let out = redactor.push(chunk.clone());
        assert_eq!(out.as_ptr(), chunk.as_ptr());
        assert_eq!(out.len(), chunk.len());
        assert_eq!(redactor.push(Bytes::from_static(b"abcsec")), "abc");
        assert_eq!(redactor.held(), 3);
        assert_eq!(redactor.push(Bytes::from_static(b"tor")), "sector");
        assert_eq!(redactor.held(), 0);
    }

    #[test]
    fn gives_the_rest_at_the_end() {
        assert_eq!(
            stream(&Arc::new(Needle::new(b"secret-key")), &[b"a secret-ke"]),
            b"a secret-ke"
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let redactor = Redactor::new(Arc::new(Needle::new(b"canary-canary")));
        assert!(!format!("{redactor:?}").contains("canary"));
    }

    proptest! {
        // A small alphabet makes texts that overlap themselves, where a naive search goes wrong.
        #[test]
        fn never_lets_the_text_pass_and_keeps_the_length(
            key in proptest::collection::vec(b'a'..=b'b', 2..9),
            chunks in proptest::collection::vec(proptest::collection::vec(b'a'..=b'c', 0..12), 0..12),
        ) {
            let needle = Arc::new(Needle::new(&key));
            let whole = chunks.concat();
            let pieces: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let got = stream(&needle, &pieces);
            prop_assert_eq!(got.len(), whole.len());
            prop_assert!(!contains(&got, &key));
            prop_assert_eq!(&got, &needle.masked(&whole).unwrap_or_else(|| whole.clone()));
            for (got, original) in got.iter().zip(&whole) {
                prop_assert!(got == original || *got == b'*');
            }
        }
    }
}
