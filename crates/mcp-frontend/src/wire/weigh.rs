//! How many values a message has, counted before it is parsed.
//!
//! A short text can be a large tree: `[],[],[],…` takes ten times its length as parsed values. Counting looks at each
//! byte once and allocates nothing.

/// The most values of one message: far above what any client sends.
const MAX_VALUES: usize = 200_000;

/// Counts what opens or separates values outside of strings.
///
/// # Errors
/// The limit, when it is passed.
pub(super) fn check(bytes: &[u8]) -> Result<(), usize> {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for byte in bytes {
        if in_string {
            match (escaped, byte) {
                (true, _) => escaped = false,
                (false, b'\\') => escaped = true,
                (false, b'"') => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' | b',' => values += 1,
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(MAX_VALUES);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_weighs_nothing_and_trees_do() {
        assert!(check(format!("\"{}\"", "[,{\\\"".repeat(1 << 20)).as_bytes()).is_ok());
        assert!(check("[],".repeat(1 << 20).as_bytes()).is_err());
    }
}
