//! The two ends of `cofferdam cp`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyEnd {
    /// `SESSION:PATH`.
    Session {
        /// What the user called the session.
        session: String,
        /// The path inside.
        path: String,
    },
    /// A file or directory of this host.
    Host(PathBuf),
    /// `-`: a tar stream on standard input or output.
    Stream,
}

/// Reads one end. As with other tools, a path of the host that has a colon in it is written with `./` or `/` in front.
pub fn parse_copy_end(text: &OsStr) -> Result<CopyEnd, String> {
    let bytes = text.as_bytes();
    if bytes == b"-" {
        return Ok(CopyEnd::Stream);
    }
    if bytes.is_empty() {
        return Err("a path cannot be empty".to_owned());
    }
    let colon = bytes.iter().position(|byte| *byte == b':');
    match colon {
        Some(at) if at > 0 && !matches!(bytes[0], b'.' | b'/') && !bytes[..at].contains(&b'/') => {
            let inside = String::from_utf8(bytes[at + 1..].to_vec())
                .map_err(|_| "a path inside a session must be UTF-8".to_owned())?;
            Ok(CopyEnd::Session {
                session: String::from_utf8_lossy(&bytes[..at]).into_owned(),
                path: if inside.is_empty() { ".".to_owned() } else { inside },
            })
        }
        _ => Ok(CopyEnd::Host(PathBuf::from(OsString::from_vec(bytes.to_vec())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> CopyEnd {
        parse_copy_end(OsStr::new(text)).unwrap()
    }

    #[test]
    fn ends() {
        let inside = |session: &str, path: &str| CopyEnd::Session {
            session: session.into(),
            path: path.into(),
        };
        assert_eq!(parse("abcd:/etc/x"), inside("abcd", "/etc/x"));
        assert_eq!(parse("fix-it:src/a:b"), inside("fix-it", "src/a:b"));
        assert_eq!(parse("abcd:"), inside("abcd", "."));
        assert_eq!(parse("-"), CopyEnd::Stream);
        for host in ["/a:b", "./a:b", "dir/a:b", "plain", "..", ":x"] {
            assert_eq!(parse(host), CopyEnd::Host(host.into()), "{host}");
        }
        assert!(parse_copy_end(OsStr::new("")).is_err());
    }
}
