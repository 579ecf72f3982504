//! The keys that detach from a terminal, as `docker attach` takes them.

/// Bytes that a person types to leave a terminal. None when empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads keys such as `ctrl-p,ctrl-q`.
///
/// # Errors
/// What is wrong with them.
pub fn parse_detach_keys(text: &str) -> Result<DetachKeys, String> {
    if text.is_empty() {
        return Ok(DetachKeys::default());
    }
    text.split(',').map(key).collect::<Result<_, _>>().map(DetachKeys)
}

fn key(text: &str) -> Result<u8, String> {
    let wrong =
        || format!("`{text}` is no key: write a letter or digit, or ctrl- and one of a-z @ [ \\ ] ^ _");
    let one = |text: &str| match text.as_bytes() {
        [byte] => Some(*byte),
        _ => None,
    };
    match text.strip_prefix("ctrl-") {
        Some(rest) => match one(rest).map(|byte| byte.to_ascii_uppercase()) {
            Some(byte @ b'@'..=b'_') => Ok(byte & 0x1f),
            _ => Err(wrong()),
        },
        None => one(text).filter(u8::is_ascii_alphanumeric).ok_or_else(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_typed() {
        let bytes = |text: &str| parse_detach_keys(text).map(|keys| keys.0);
        assert_eq!(bytes("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(bytes("ctrl-@,a,Z,ctrl-]").unwrap(), [0, b'a', b'Z', 29]);
        assert!(bytes("").unwrap().is_empty());
        for bad in ["ctrl-", "ctrl-1", "ab", ",", "ctrl-pp", "é", "ctrl-p,,a"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
