//! How many values a message has and how deep they go, looked at before it is parsed.
//!
//! A short text can be a large tree: `[],[],[],…` takes ten times its length as parsed values, and the protocol library
//! buffers whatever shape a message has. Looking at each byte once allocates nothing.

/// The most values of one message: far above what any client sends.
const MAX_VALUES: usize = 200_000;
/// The most objects and arrays inside each other. The parser refuses somewhat deeper ones with a worse answer.
const MAX_DEPTH: usize = 100;

/// Why a message is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooMuch {
    Values,
    Depth,
}

impl TooMuch {
    pub(super) fn message(self) -> String {
        match self {
            Self::Values => format!("the message has more than {MAX_VALUES} values"),
            Self::Depth => format!("the message has more than {MAX_DEPTH} levels"),
        }
    }
}

/// Counts what opens or separates values outside of strings.
///
/// # Errors
/// The limit that is passed.
pub(super) fn check(bytes: &[u8]) -> Result<(), TooMuch> {
    let (mut values, mut depth) = (1, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
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
            b'[' | b'{' => {
                values += 1;
                depth += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(TooMuch::Values);
        }
        if depth > MAX_DEPTH {
            return Err(TooMuch::Depth);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_weighs_nothing_and_trees_do() {
        assert_eq!(
            check(format!("\"{}\"", "[,{\\\"".repeat(1 << 20)).as_bytes()),
            Ok(())
        );
        assert_eq!(check("[],".repeat(1 << 20).as_bytes()), Err(TooMuch::Values));
        assert_eq!(check("[".repeat(101).as_bytes()), Err(TooMuch::Depth));
        assert_eq!(check("[]".repeat(1000).as_bytes()), Ok(()));
    }
}
