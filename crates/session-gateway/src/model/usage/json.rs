//! Finds the member `usage` of a JSON object without keeping the object: an answer may be megabytes of text, and its account
//! stands at the end.
//!
//! The scanner follows only what it needs (strings, escapes, depth). It is exact for valid JSON; for anything else it
//! finds nothing or something that is then refused by the parser.

use super::MAX_PIECE;

const WANTED: &[u8] = b"usage";

/// The state between two chunks.
#[derive(Debug, Default)]
pub(super) struct JsonScanner {
    place: Place,
    /// The current key, as far as it can be the wanted one.
    key: Vec<u8>,
    /// The value of the wanted member so far.
    value: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the outer `{`.
    #[default]
    Start,
    /// In the outer object, before a key.
    Member,
    /// In a key; `escaped` right after a backslash.
    Key { escaped: bool },
    /// After a key.
    Colon,
    /// In a value: how many brackets are open, and where in a string.
    Value { wanted: bool, depth: u64, text: Text },
    /// After the outer object, or in something that is not an object.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    Escaped,
}

impl JsonScanner {
    /// Reads on; `on_usage` gets the text of the wanted member's value.
    pub(super) fn feed(&mut self, chunk: &[u8], mut on_usage: impl FnMut(&[u8])) {
        for byte in chunk {
            if self.place == Place::End {
                return;
            }
            self.place = self.step(*byte, &mut on_usage);
        }
    }

    fn step(&mut self, byte: u8, on_usage: &mut impl FnMut(&[u8])) -> Place {
        match (self.place, byte) {
            (Place::Start | Place::Member | Place::Colon, b' ' | b'\t' | b'\r' | b'\n') => self.place,
            (Place::Start, b'{') | (Place::Member, b',') => Place::Member,
            (Place::Member, b'"') => {
                self.key.clear();
                Place::Key { escaped: false }
            }
            (Place::Key { escaped: false }, b'"') => Place::Colon,
            (Place::Key { escaped }, _) => {
                // One byte more than the wanted key is enough to know that this is another one.
                if self.key.len() <= WANTED.len() {
                    self.key.push(byte);
                }
                Place::Key {
                    escaped: !escaped && byte == b'\\',
                }
            }
            (Place::Colon, b':') => {
                self.value.clear();
                Place::Value {
                    wanted: self.key == WANTED,
                    depth: 0,
                    text: Text::Outside,
                }
            }
            (
                Place::Value {
                    wanted,
                    depth: 0,
                    text: Text::Outside,
                },
                b',' | b'}',
            ) => {
                if wanted {
                    on_usage(&self.value);
                }
                if byte == b',' { Place::Member } else { Place::End }
            }
            (Place::Value { wanted, depth, text }, _) => self.in_value(byte, wanted, depth, text),
            _ => Place::End,
        }
    }

    fn in_value(&mut self, byte: u8, wanted: bool, depth: u64, text: Text) -> Place {
        let wanted = wanted && self.value.len() < MAX_PIECE;
        if wanted {
            self.value.push(byte);
        }
        let (depth, text) = match (text, byte) {
            (Text::Escaped, _) => (depth, Text::Inside),
            (Text::Inside, b'\\') => (depth, Text::Escaped),
            (Text::Inside, b'"') => (depth, Text::Outside),
            (Text::Inside, _) => (depth, Text::Inside),
            (Text::Outside, b'"') => (depth, Text::Inside),
            (Text::Outside, b'{' | b'[') => (depth.saturating_add(1), Text::Outside),
            (Text::Outside, b'}' | b']') => (depth.saturating_sub(1), Text::Outside),
            (Text::Outside, _) => (depth, Text::Outside),
        };
        Place::Value { wanted, depth, text }
    }

    /// Bytes held, for the test of the bound.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.key.len() + self.value.len()
    }
}
