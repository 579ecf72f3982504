//! Finds members of a JSON object without keeping the object: an answer may be megabytes of text with its account at the
//! end, and a request megabytes of conversation with its model before or after them.
//!
//! The scanner follows only what it needs (strings, escapes, depth). It is exact for valid JSON; for anything else it
//! finds nothing or something that is then refused by the parser.

use super::MAX_PIECE;

/// Longest key that can be wanted.
const MAX_KEY: usize = 16;

/// The state between two chunks.
#[derive(Debug)]
pub(super) struct JsonScanner {
    /// The names of the members to find, none of which has an escape in it.
    wanted: &'static [&'static str],
    place: Place,
    /// The current key, as far as it can be a wanted one.
    key: Vec<u8>,
    /// The value of the wanted member so far.
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the outer `{`.
    Start,
    /// In the outer object, before a key.
    Member,
    /// In a key; `escaped` right after a backslash.
    Key { escaped: bool },
    /// After a key.
    Colon,
    /// In a value: whether it is wanted, how many brackets are open, and where in a string.
    Value {
        wanted: Option<&'static str>,
        depth: u64,
        text: Text,
    },
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
    pub(super) fn new(wanted: &'static [&'static str]) -> Self {
        Self {
            wanted,
            place: Place::Start,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Reads on; `on_member` gets the name of each wanted member and the text of its value.
    pub(super) fn feed(&mut self, chunk: &[u8], mut on_member: impl FnMut(&'static str, &[u8])) {
        let mut rest = chunk;
        while let Some((first, tail)) = rest.split_first() {
            if self.place == Place::End {
                return;
            }
            rest = tail;
            self.place = self.step(*first, &mut on_member);
            if self.is_in_unwanted_text() {
                // Nearly all of a conversation is this.
                let ends = |byte: &u8| matches!(byte, b'"' | b'\\');
                rest = &rest[rest.iter().position(ends).unwrap_or(rest.len())..];
            }
        }
    }

    fn is_in_unwanted_text(&self) -> bool {
        matches!(
            self.place,
            Place::Value {
                wanted: None,
                text: Text::Inside,
                ..
            }
        )
    }

    fn step(&mut self, byte: u8, on_member: &mut impl FnMut(&'static str, &[u8])) -> Place {
        match (self.place, byte) {
            (Place::Start | Place::Member | Place::Colon, b' ' | b'\t' | b'\r' | b'\n') => self.place,
            (Place::Start, b'{') | (Place::Member, b',') => Place::Member,
            (Place::Member, b'"') => {
                self.key.clear();
                Place::Key { escaped: false }
            }
            (Place::Key { escaped: false }, b'"') => Place::Colon,
            (Place::Key { escaped }, _) => {
                // One byte more than the longest wanted key is enough to know that this is another one.
                if self.key.len() <= MAX_KEY {
                    self.key.push(byte);
                }
                Place::Key {
                    escaped: !escaped && byte == b'\\',
                }
            }
            (Place::Colon, b':') => {
                self.value.clear();
                Place::Value {
                    wanted: self
                        .wanted
                        .iter()
                        .find(|name| name.as_bytes() == self.key)
                        .copied(),
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
                if let Some(name) = wanted {
                    on_member(name, &self.value);
                }
                if byte == b',' { Place::Member } else { Place::End }
            }
            (Place::Value { wanted, depth, text }, _) => self.in_value(byte, wanted, depth, text),
            _ => Place::End,
        }
    }

    fn in_value(&mut self, byte: u8, wanted: Option<&'static str>, depth: u64, text: Text) -> Place {
        let wanted = wanted.filter(|_| self.value.len() < MAX_PIECE);
        if wanted.is_some() {
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
