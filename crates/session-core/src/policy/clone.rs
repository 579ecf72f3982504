//! Which repositories may be cloned into a session, judged before git sees the address.
//!
//! git takes far more than addresses: `ext::` runs programs, `file://` and paths read what is near, a leading `-` is an
//! option (CVE-2024-32002 and its kin). The clone runs inside the session, so the host is safe anyway; these rules keep
//! secrets out of sessions and make refusals explain themselves.

use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "clone the repository";
const MAX_URL: usize = 2048;
const MAX_REFERENCE: usize = 256;

/// Judges a repository's address: `https://` or `http://`, a host, a path, no credentials.
///
/// # Errors
/// `InvalidArgument` with the reason and what to write instead.
pub fn judge_url(url: &str) -> Result<()> {
    let refuse = |message: &'static str, hint: &'static str| {
        Err(Error::new(ErrorKind::InvalidArgument, OPERATION, message).with_hint(hint))
    };
    if url.is_empty() || url.len() > MAX_URL || url.chars().any(unreadable) {
        return refuse(
            "the address is empty, too long or has blanks in it",
            "write https://HOST/PATH",
        );
    }
    let Some(rest) = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
    else {
        return refuse(
            "only https:// and http:// addresses can be cloned",
            "ssh needs a key inside the session, and no secret ever enters one; use the https address",
        );
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return refuse(
            "the address carries credentials",
            "leave them out: no secret ever enters a session",
        );
    }
    let host = authority.split(':').next().unwrap_or_default();
    let host_is_plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    if host.is_empty() || !host_is_plain || host.starts_with('-') {
        return refuse("the address names no host", "write https://HOST/PATH");
    }
    Ok(())
}

/// Programs disagree about where a backslash ends a host; nobody needs one.
fn unreadable(c: char) -> bool {
    c.is_control() || c.is_whitespace() || c == '\\'
}

/// Judges a branch, tag or commit.
///
/// # Errors
/// `InvalidArgument` for what git would take for an option or a pattern.
pub fn judge_reference(reference: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/+@#=".contains(c);
    let fine = !reference.is_empty()
        && reference.len() <= MAX_REFERENCE
        && !reference.starts_with('-')
        && !reference.contains("..")
        && !reference.contains("@{")
        && reference.chars().all(allowed);
    if fine {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "this is no branch, tag or commit",
    )
    .with_context(
        "ref",
        reference.chars().take(80).collect::<String>().escape_debug(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_that_git_would_take_for_more_are_refused() {
        for bad in [
            "",
            "-u",
            "--upload-pack=touch x",
            "ext::sh -c true",
            "file:///etc",
            "/etc",
            "../x",
            "ssh://git@host/x",
            "git@host:x",
            "https://user:secret@host/x",
            "https://token@host/x",
            "https://",
            "https:///x",
            "https://-host/x",
            "https://host\\@evil/x",
            "https://ho\nst/x",
            "HTTPS://host/x",
        ] {
            assert!(judge_url(bad).is_err(), "{bad:?}");
        }
        for good in [
            "https://host/a/b.git",
            "http://127.0.0.1:8080/x",
            "https://host.example/a?b=c",
        ] {
            assert!(judge_url(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn references_that_git_would_take_for_options_are_refused() {
        for bad in [
            "", "-b", "--x", "a..b", "a b", "a@{1}", "a\0", "a:b", "a^", "a~1", "a*",
        ] {
            assert!(judge_reference(bad).is_err(), "{bad:?}");
        }
        for good in ["main", "v1.0.0", "feature/x-1", "0123abcd", "a@b"] {
            assert!(judge_reference(good).is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_never_carries_credentials_or_options(url in "(https?://)?[-@:/a-z.\\\\#?%]{0,30}") {
            if judge_url(&url).is_ok() {
                let authority = url.split("://").nth(1).unwrap().split('/').next().unwrap();
                prop_assert!(!authority.split(['?', '#']).next().unwrap().contains('@'));
                prop_assert!(!url.starts_with('-'));
            }
        }
    }
}
