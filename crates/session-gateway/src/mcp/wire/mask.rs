//! The secrets of one server, so that it cannot hand them on.
//!
//! A server has its secrets, and many print their environment when asked. What they say goes into sealed containers, into
//! logs and before people, so each secret is masked in it: as it is, and in base64 at any place of a longer text.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::model::redact::Needle;

/// Shorter texts occur by chance, and masking those would damage what is said.
const MIN_SECRET: usize = 8;

/// See the module. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mask(Arc<[Needle]>);

impl Mask {
    /// Masks these secrets. Each line of one that has several is a secret: logs come in lines.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            let secret = secret.expose_secret().trim();
            let lines = secret.lines().map(str::trim);
            for text in std::iter::once(secret).chain(lines) {
                if text.len() >= MIN_SECRET {
                    texts.push(text.as_bytes().to_vec());
                    texts.extend(encoded(text.as_bytes()));
                }
            }
        }
        // Longer ones first: what a shorter one masks is not found any more.
        texts.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        texts.dedup();
        Self(texts.iter().map(|text| Needle::new(text)).collect())
    }

    /// The longest text that is masked, in bytes.
    pub(crate) fn longest(&self) -> usize {
        self.0.first().map_or(0, Needle::len)
    }

    /// The text with every secret masked.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        }
    }

    /// The bytes with every secret masked by as many others.
    pub(crate) fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut masked = Cow::Borrowed(bytes);
        for needle in self.0.iter() {
            if let Some(cleared) = needle.masked(&masked) {
                masked = Cow::Owned(cleared);
            }
        }
        masked
    }

    /// Masks every text in a value, the names of fields too.
    pub(crate) fn clear(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.clear(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.clear(field));
                let named: Vec<(String, String)> = fields
                    .keys()
                    .filter_map(|name| match self.text(name) {
                        Cow::Owned(masked) => Some((name.clone(), masked)),
                        Cow::Borrowed(_) => None,
                    })
                    .collect();
                for (name, masked) in named {
                    if let Some(field) = fields.remove(&name) {
                        fields.insert(masked, field);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What of the base64 of a text is the same wherever the text begins in what is encoded.
fn encoded(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let shifted = (0..3_usize).flat_map(move |before| {
        let mut whole = vec![0; before];
        whole.extend_from_slice(text);
        // The first characters hold bits of what stands before, the last ones of what stands behind.
        let from = (before * 8).div_ceil(6);
        let to = whole.len() * 8 / 6;
        [
            BASE64_STANDARD_NO_PAD.encode(&whole),
            BASE64_URL_SAFE_NO_PAD.encode(&whole),
        ]
        .map(|encoded| encoded.as_bytes()[from..to].to_vec())
    });
    shifted.filter(|text| text.len() >= MIN_SECRET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const CANARY: &str = "canary-7f3a/9b+c";

    fn mask() -> Mask {
        Mask::new([&SecretString::from(CANARY)])
    }

    #[test]
    fn a_secret_is_masked_wherever_it_stands() {
        let mut value = json!({
            "content": [{ "type": "text", "text": format!("TOKEN={CANARY}\n") }, CANARY],
            CANARY: { "n": 1, "k": format!("Bearer {CANARY}") },
        });
        mask().clear(&mut value);
        let text = value.to_string();
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("TOKEN=*") && text.contains("Bearer *"), "{text}");
    }

    #[test]
    fn short_secrets_and_other_texts_stay() {
        let mask = Mask::new([&SecretString::from("short"), &SecretString::from("")]);
        assert_eq!(mask.text("a short text"), "a short text");
        assert_eq!(mask.longest(), 0);
        assert!(matches!(mask_of_nothing().text("x"), Cow::Borrowed("x")));
    }

    fn mask_of_nothing() -> Mask {
        Mask::default()
    }

    #[test]
    fn the_lines_of_a_key_are_masked_one_by_one() {
        let key = SecretString::from("-----BEGIN KEY-----\nc2VjcmV0LWNhbmFyeQ\n-----END KEY-----\n");
        assert!(!Mask::new([&key]).text("line c2VjcmV0LWNhbmFyeQ").contains("c2Vj"));
    }

    proptest! {
        #[test]
        fn base64_is_masked_at_any_place(before in prop::collection::vec(any::<u8>(), 0..9), behind in prop::collection::vec(any::<u8>(), 0..9)) {
            let text = [before.as_slice(), CANARY.as_bytes(), &behind].concat();
            for encoded in [BASE64_STANDARD_NO_PAD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
                let masked = mask().text(&encoded).into_owned();
                prop_assert_eq!(masked.len(), encoded.len());
                let kept = masked.bytes().zip(encoded.bytes()).filter(|(one, other)| one == other).count();
                prop_assert!(kept <= encoded.len() - CANARY.len() * 8 / 6 + 2, "{}", masked);
            }
        }
    }
}
