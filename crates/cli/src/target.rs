//! Which session the user means: a whole id, the start of one, or a name.

use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::{SessionFilter, SessionInfo};

use crate::sanitize;

/// Shorter ones would soon mean another session than the user thinks.
const MIN_PREFIX: usize = 4;
/// How many candidates an error names.
const SHOWN: usize = 5;

/// Finds the session. A whole id is taken as it is, without asking: what does not exist is refused by what follows.
///
/// Otherwise sessions that live go before those that are gone, and a name before the start of an id.
///
/// # Errors
/// `NotFound`, and `InvalidArgument` when several sessions match or the text is too short.
pub async fn find(api: &dyn SessionApi, text: &str) -> Result<SessionId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    for all in [false, true] {
        let filter = SessionFilter {
            all,
            ..SessionFilter::default()
        };
        let sessions = api.list(filter).await?;
        if let Some(id) = pick(&sessions, text)? {
            return Ok(id);
        }
    }
    Err(not_found(text))
}

fn pick(sessions: &[SessionInfo], text: &str) -> Result<Option<SessionId>> {
    let named: Vec<_> = sessions
        .iter()
        .filter(|session| session.name.as_deref() == Some(text))
        .collect();
    let candidates = if named.is_empty() && is_prefix(text) {
        sessions
            .iter()
            .filter(|session| starts(&session.id, text))
            .collect()
    } else {
        named
    };
    match candidates.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.id)),
        several => Err(ambiguous(text, several)),
    }
}

/// Whether the text can be the start of an id, with or without its hyphens.
fn is_prefix(text: &str) -> bool {
    text.len() >= MIN_PREFIX && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn starts(id: &SessionId, prefix: &str) -> bool {
    let id = id.to_string();
    let prefix = prefix.to_ascii_lowercase();
    id.starts_with(&prefix) || id.replace('-', "").starts_with(&prefix)
}

fn not_found(text: &str) -> Error {
    let error = Error::new(
        ErrorKind::NotFound,
        "find the session",
        "no session has this id or name",
    )
    .with_context("session", sanitize::one_line(text));
    if text.len() < MIN_PREFIX {
        error.with_hint("give at least four characters of its id; `cofferdam ls --all` shows the ids")
    } else {
        error.with_hint("`cofferdam ls --all` shows the sessions")
    }
}

fn ambiguous(text: &str, several: &[&SessionInfo]) -> Error {
    let mut shown: Vec<String> = several
        .iter()
        .take(SHOWN)
        .map(|session| session.id.to_string())
        .collect();
    if several.len() > SHOWN {
        shown.push("…".to_owned());
    }
    Error::new(
        ErrorKind::InvalidArgument,
        "find the session",
        "several sessions match; give more of the id",
    )
    .with_context("session", sanitize::one_line(text))
    .with_context("candidates", shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_match_with_and_without_hyphens_and_in_any_case() {
        let id: SessionId = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6".parse().unwrap();
        for prefix in ["f81d", "F81D4FAE", "f81d4fae-7dec", "f81d4fae7dec11"] {
            assert!(is_prefix(prefix) && starts(&id, prefix), "{prefix}");
        }
        assert!(!starts(&id, "f81e"));
        for bad in ["", "f81", "xyzw", "f81d*"] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
