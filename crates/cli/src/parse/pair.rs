//! `KEY=VALUE` and `HOST:CONTAINER` pairs.

use std::path::PathBuf;

use session_core::runtime::HostMount;

/// Reads `NAME=VALUE` for the environment of a session.
pub fn parse_environment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or(
        "write it as NAME=VALUE; a value is never taken over from your own environment, because whatever runs inside \
         can read it",
    )?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(legal) {
        return Err("a name is made of letters, digits and _ and starts with no digit".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads `KEY=VALUE`, or `KEY` for an empty value.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() || key.contains(char::is_control) {
        return Err("write it as KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads `HOST:CONTAINER[:ro|rw]`; read-only unless it says `rw`.
pub fn parse_bind(text: &str) -> Result<HostMount, String> {
    let (paths, read_only) = if let Some(paths) = text.strip_suffix(":rw") {
        (paths, false)
    } else {
        (text.strip_suffix(":ro").unwrap_or(text), true)
    };
    match paths.rsplit_once(':') {
        Some((source, target)) if !source.is_empty() && target.starts_with('/') => Ok(HostMount {
            source: PathBuf::from(source),
            target: target.to_owned(),
            read_only,
        }),
        _ => Err("write it as HOST:CONTAINER[:ro|rw], the second path absolute".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments() {
        assert_eq!(parse_environment("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse_environment("A="), Ok(("A".into(), String::new())));
        for bad in ["A", "=b", "1A=b", "A B=c", "A-B=c"] {
            assert!(parse_environment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels() {
        assert_eq!(parse_label("team=core"), Ok(("team".into(), "core".into())));
        assert_eq!(parse_label("keep"), Ok(("keep".into(), String::new())));
        assert!(parse_label("=x").is_err());
    }

    #[test]
    fn binds_are_read_only_unless_they_say_otherwise() {
        let bind = parse_bind("/data:/mnt/data").unwrap();
        assert!(bind.read_only);
        assert_eq!(bind.target, "/mnt/data");
        assert!(!parse_bind("./x:/y:rw").unwrap().read_only);
        for bad in ["/data", "/data:", ":/x", "/data:relative", ""] {
            assert!(parse_bind(bad).is_err(), "{bad}");
        }
    }
}
