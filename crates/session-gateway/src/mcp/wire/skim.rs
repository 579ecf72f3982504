//! Whom an answer is for, found out without parsing it.
//!
//! An answer that is too long or no JSON is dropped, but somebody waits for it. Its id stands on the first level of the
//! object, so one pass over the bytes finds it in constant memory, whatever stands around it.

use rmcp::model::RequestId;

use super::{MAX_ID, request_id};

/// The longest key that matters is `jsonrpc`.
const MAX_KEY: usize = 8;
/// An id in quotes, each character of it escaped.
const MAX_VALUE: usize = 6 * MAX_ID + 2;

/// The pass. Takes the bytes in any pieces.
#[derive(Debug, Default)]
pub(super) struct Skim {
    depth: u32,
    in_string: bool,
    escaped: bool,
    place: Place,
    key: Vec<u8>,
    /// The value of `id` or `jsonrpc` as it is written.
    value: Vec<u8>,
    id: Option<RequestId>,
    is_version_2: bool,
    has_method: bool,
    /// No object, or something behind it.
    dead: bool,
}

/// Where on the first level of the object.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In or before a key.
    #[default]
    Key,
    /// In the value of a field that matters.
    Kept(Field),
    /// In another value.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Version,
}

impl Skim {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    /// The request that is answered, if this is an answer.
    pub(super) fn answered(self) -> Option<RequestId> {
        self.id.filter(|_| self.is_version_2 && !self.has_method)
    }

    fn step(&mut self, byte: u8) {
        if self.dead {
            return;
        }
        if self.depth == 0 {
            match byte {
                b'{' => self.depth = 1,
                byte if byte.is_ascii_whitespace() => {}
                _ => self.dead = true,
            }
            return;
        }
        if self.in_string {
            self.keep(byte);
            match (self.escaped, byte) {
                (true, _) => self.escaped = false,
                (false, b'\\') => self.escaped = true,
                (false, b'"') => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.keep(byte);
            }
            b'}' | b']' if self.depth > 1 => self.depth -= 1,
            b'}' | b']' => {
                self.end_value();
                self.dead = true;
            }
            b':' if self.depth == 1 => self.begin_value(),
            b',' if self.depth == 1 => {
                self.end_value();
                self.place = Place::Key;
                self.key.clear();
            }
            // Any amount of it may stand between a key and its value.
            byte if byte.is_ascii_whitespace() => {}
            _ => self.keep(byte),
        }
    }

    /// Keeps the byte where it matters: no more than what would still be an id.
    fn keep(&mut self, byte: u8) {
        let (kept, most) = match self.place {
            _ if self.depth > 1 && byte != b'{' && byte != b'[' => return,
            Place::Key => (&mut self.key, MAX_KEY + 2),
            Place::Kept(_) => (&mut self.value, MAX_VALUE),
            Place::Other => return,
        };
        // One more than there may be, so that too much is not taken for all.
        if kept.len() <= most {
            kept.push(byte);
        }
    }

    fn begin_value(&mut self) {
        if self.place != Place::Key {
            return;
        }
        self.value.clear();
        self.place = match self.key.as_slice() {
            b"\"id\"" => Place::Kept(Field::Id),
            b"\"jsonrpc\"" => Place::Kept(Field::Version),
            b"\"method\"" => {
                self.has_method = true;
                Place::Other
            }
            // An escape may spell one of them; then nobody is told, which is all that is lost.
            _ => Place::Other,
        };
    }

    fn end_value(&mut self) {
        let Place::Kept(field) = self.place else { return };
        let value = (self.value.len() <= MAX_VALUE)
            .then(|| serde_json::from_slice(&self.value).ok())
            .flatten();
        match field {
            Field::Id => self.id = value.as_ref().and_then(request_id),
            Field::Version => {
                self.is_version_2 = value.is_some_and(|value: serde_json::Value| value == "2.0")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn skim(bytes: &[u8], piece: usize) -> Option<RequestId> {
        let mut skim = Skim::default();
        for piece in bytes.chunks(piece.max(1)) {
            skim.feed(piece);
        }
        skim.answered()
    }

    #[test]
    fn an_answer_that_is_cut_or_broken_still_says_whose_it_is() {
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"id":9},"}"#,
            r#"{"jsonrpc":"2.0","result":{"id":8,"jsonrpc":"1.0","method":"x"},"id":7}"#,
            r#" { "id" : 7 , "jsonrpc" : "2.0" , "result" : [[[[["#,
            r#"{"result":"\",\"id\":9,\"","jsonrpc":"2.0","id":7,"#,
        ] {
            assert_eq!(skim(text.as_bytes(), 3), Some(RequestId::Number(7)), "{text}");
        }
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"method":"ping""#,
            r#"{"id":7,"result":{}}"#,
            r#"{"jsonrpc":"1.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":[7],"result":{}}"#,
            r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#,
            r#"{"jsonrpc":"2.0","result":{"id":7}}"#,
            "npm warn deprecated",
        ] {
            assert_eq!(skim(text.as_bytes(), 2), None, "{text}");
        }
    }

    #[test]
    fn nothing_grows() {
        let mut skim = Skim::default();
        skim.feed(b"{\"jsonrpc\":\"2.0\",\"");
        skim.feed(&[b'k'; 1 << 20]);
        skim.feed(b"\":1,\"id\":\"");
        skim.feed(&[b'i'; 1 << 20]);
        skim.feed(b"\",");
        assert!(skim.key.capacity() < 64 && skim.value.capacity() < 2 * MAX_VALUE);
        assert_eq!(skim.answered(), None);
    }

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(|number| json!(number)),
            "[a-z\"\\\\{}:,]{0,8}".prop_map(Value::String),
        ]
    }

    fn tree() -> impl Strategy<Value = Value> {
        leaf().prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("id|method|jsonrpc|x", inner, 0..4)
                    .prop_map(|map| Value::Object(Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        /// What a parser would say of every object, in whatever pieces it comes.
        #[test]
        fn agrees_with_a_parser(
            fields in prop::collection::btree_map("id|method|jsonrpc|result|\\PC{0,3}", tree(), 0..6),
            version in any::<bool>(),
            id in prop::option::of(prop_oneof![any::<i64>().prop_map(|id| json!(id)), "\\PC{0,20}".prop_map(Value::String)]),
            pretty in any::<bool>(),
            piece in 1_usize..9,
        ) {
            let mut object = Map::from_iter(fields);
            if version {
                object.insert("jsonrpc".to_owned(), json!("2.0"));
            }
            if let Some(id) = id {
                object.insert("id".to_owned(), id);
            }
            let value = Value::Object(object);
            let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
            prop_assert_eq!(skim(&text, piece), super::super::answered(&value));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            skim(&bytes, 7);
        }
    }
}
