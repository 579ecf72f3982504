//! Records of PAX extension headers: `LENGTH KEY=VALUE\n`, read by their lengths.
//!
//! The crate's own iterator splits at line ends and so loses names with a line end in them. This one takes a record
//! only if length, `=` and line end are where they must be.

use crate::error::Result;

use super::refused;

/// What a header says about the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Whole seconds; fractions are dropped.
    pub(super) mtime: Option<i64>,
}

impl Pax {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) =
                record(bytes).ok_or_else(|| refused("an extension header is malformed", b""))?;
            pax.take(key, value)?;
            bytes = rest;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let fresh = match key {
            b"path" => self.path.replace(value.to_vec()).is_none(),
            b"linkpath" => self.link.replace(value.to_vec()).is_none(),
            b"size" => self.size.replace(number(value)?).is_none(),
            b"mtime" => self.mtime.replace(seconds(value)?).is_none(),
            _ if key.starts_with(b"GNU.sparse.") => return Err(refused("sparse files are not taken", b"")),
            // Owners, access times, extended attributes, comments: not ours to apply.
            _ => true,
        };
        // Readers differ in which of two records they believe.
        if fresh {
            Ok(())
        } else {
            Err(refused("an extension header states the same thing twice", b""))
        }
    }
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let digits = &bytes[..space];
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

fn number(value: &[u8]) -> Result<u64> {
    let digits = value
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| std::str::from_utf8(value).ok())
        .flatten();
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| refused("a size is no number", b""))
}

fn seconds(value: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    match whole.parse() {
        Ok(seconds) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => Ok(seconds),
        _ => Err(refused("a time is no number", b"")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_read_by_their_lengths() {
        let pax = Pax::parse(b"12 path=a\nb\n19 mtime=12.345678\n9 uid=77\n9 size=8\n").unwrap();
        assert_eq!(
            pax,
            Pax {
                path: Some(b"a\nb".to_vec()),
                link: None,
                size: Some(8),
                mtime: Some(12)
            }
        );
    }

    #[test]
    fn what_is_ambiguous_or_malformed_is_refused() {
        for bad in [
            &b"11 path=a\nb\n"[..],
            b"9 size=8\n9 size=9\n",
            b"10 size=-8\n",
            b"10 size=+8\n",
            b"30 size=99999999999999999999\n",
            b"99 path=a\n",
            b"-9 path=a\n",
            b" path=a\n",
            b"0 path=a\n",
            b"3 a\n",
            b"22 GNU.sparse.major=1\n",
            b"path=a",
        ] {
            assert!(Pax::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[0-9]{0,3} [a-z]{0,5}=[^\\x00]{0,9}\n{0,2}") {
            let _ = Pax::parse(&bytes);
            let _ = Pax::parse(text.as_bytes());
        }

        #[test]
        fn any_name_survives(name in prop::collection::vec(1_u8..=255, 1..300)) {
            let mut length = name.len() + 7;
            while format!("{length}").len() + name.len() + 7 != length {
                length = format!("{length}").len() + name.len() + 7;
            }
            let mut bytes = format!("{length} path=").into_bytes();
            bytes.extend_from_slice(&name);
            bytes.push(b'\n');
            prop_assert_eq!(Pax::parse(&bytes).unwrap().path, Some(name));
        }
    }
}
