//! What looks like a secret where none belongs.
//!
//! A declaration is shown, published and signed, so it holds references alone. This catches accidents, not intent.

use session_core::policy::limits::{is_secret_name, looks_secret};

use super::Value;
use crate::flaw::Flaw;

/// Header fields whose value is always a credential.
const SECRET_HEADERS: &[&str] = &[
    "api-key",
    "authorization",
    "cookie",
    "private-token",
    "x-api-key",
    "x-auth-token",
];

/// The last words of names that are given to secrets.
const SECRET_WORDS: &[&str] = &[
    "apikey",
    "credential",
    "credentials",
    "key",
    "pass",
    "passwd",
    "password",
    "pat",
    "secret",
    "token",
];

/// Whether a field of this name always carries a credential.
pub(crate) fn is_secret_header(name: &str) -> bool {
    SECRET_HEADERS
        .iter()
        .any(|secret| secret.eq_ignore_ascii_case(name))
}

/// Whether people give such names to secrets: `GITHUB_TOKEN`, `--api-key`, `tavilyApiKey`. Wider than what is refused in
/// an environment.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_secret_name(&name)
        || SECRET_WORDS.iter().any(|word| match name.strip_suffix(word) {
            Some(before) => {
                before.is_empty() || !before.ends_with(|c: char| c.is_ascii_alphanumeric()) || word.len() > 4
            }
            None => false,
        })
}

/// Whether an argument holds a credential, alone, after a name, or as the password in an address.
pub(crate) fn argument_holds_secret(argument: &str) -> bool {
    looks_secret(argument)
        || argument
            .split([' ', '=', ':', ',', '"', '\'', '\n'])
            .any(looks_secret)
        || names_a_password(argument)
}

/// `scheme://user:password@host`.
fn names_a_password(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .and_then(|(user, _)| user.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
    })
}

/// Judges a value that stands in an environment or a header of a server that may have secrets.
pub(super) fn refuse_plain(value: &Value, named_secret: bool) -> Result<(), Flaw> {
    let text = match value {
        Value::Plain(text) => text,
        Value::Secret(secret) => &secret.prefix,
    };
    let plain_secret = named_secret && matches!(value, Value::Plain(text) if !text.is_empty());
    if plain_secret || looks_secret(text) {
        return Err(Flaw::new("a secret is written down here").with_hint(
            "keep it where it is and name the place: { env = \"NAME\" }, { file = \"/path\" } or { command = [\"program\"] }",
        ));
    }
    Ok(())
}

/// A secret for a program in a container.
pub(super) fn none_inside() -> Flaw {
    Flaw::new("a program in a container gets no secret").with_hint(
        "a credential for a host is added at the egress door, see `egress.credentials` in docs/guides/egress.md",
    )
}
