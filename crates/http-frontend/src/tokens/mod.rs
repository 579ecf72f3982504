//! Tokens: named, scoped, and known by their hash alone.
//!
//! [`TokenFile`] makes, lists and revokes them, in this process or any other that has the state directory. A server looks
//! at the file's entry at every request, so that a token which was revoked opens nothing any more.

mod file;
mod table;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_api::{TokenInfo, TokenScope};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, Result};
use session_core::state_dir::StateDir;
use sha2::{Digest, Sha256};

pub(crate) use self::table::{Identity, TokenTable};

/// What every secret begins with, so that people and scanners recognise one.
pub const PREFIX: &str = "cfd_";
/// The most tokens of a state directory.
pub const MAX_TOKENS: usize = 256;
const MAX_NAME_BYTES: usize = 64;

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name: letters, digits, `.`, `_` and `-`, beginning with a letter or digit, at most 64 bytes. It owns the sessions
    /// that the token makes: one that is made anew under the same name has them again.
    pub name: String,
    /// What it may do.
    pub scope: TokenScope,
    /// Whether a token with the scope `use` may work with the sessions of others too.
    pub all_sessions: bool,
    /// When it expires; never when `None`.
    pub expires_at: Option<Timestamp>,
}

/// The tokens of a state directory. Cheap to clone; opens nothing before it is asked.
#[derive(Debug, Clone)]
pub struct TokenFile {
    state: PathBuf,
}

/// What is kept of a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    name: String,
    /// SHA-256 of the secret, in hexadecimal digits.
    sha256: String,
    scope: TokenScope,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all_sessions: bool,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl Kept {
    fn info(&self) -> TokenInfo {
        TokenInfo {
            name: self.name.clone(),
            scope: self.scope,
            all_sessions: self.all_sessions,
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }
}

impl TokenFile {
    /// The tokens of this state directory.
    pub fn of(state: &StateDir) -> Self {
        Self {
            state: state.path().to_owned(),
        }
    }

    /// Where they are kept.
    pub fn path(&self) -> PathBuf {
        self.state.join(file::KEYS).join(file::NAME)
    }

    /// Makes a token and tells its secret, this once.
    ///
    /// # Errors
    /// `InvalidArgument` for a name or time that cannot be; `StateConflict` when there is one of this name already;
    /// `LimitExceeded` for more than [`MAX_TOKENS`]; `StateDirRefused`, `HostIo`.
    pub fn create(&self, token: NewToken) -> Result<(TokenInfo, SecretString)> {
        const OPERATION: &str = "make the token";
        validate(&token)?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let (dir, _lock) = self.lock(OPERATION)?;
        let mut kept = file::read(&dir, &self.path(), OPERATION)?;
        if kept.iter().any(|other| other.name == token.name) {
            return Err(Error::new(
                ErrorKind::StateConflict,
                OPERATION,
                "there is a token of this name",
            )
            .with_context("name", &token.name)
            .with_hint("choose another name, or revoke that token first"));
        }
        if kept.len() >= MAX_TOKENS {
            return Err(
                Error::new(ErrorKind::LimitExceeded, OPERATION, "there are too many tokens")
                    .with_context("tokens", kept.len())
                    .with_hint("revoke those that nobody uses"),
            );
        }
        let made = Kept {
            name: token.name,
            sha256: hex(&digest(secret.as_bytes())),
            scope: token.scope,
            all_sessions: token.all_sessions,
            created_at: Timestamp::now(),
            expires_at: token.expires_at,
        };
        let info = made.info();
        kept.push(made);
        file::write(&dir, &self.path(), OPERATION, &kept)?;
        Ok((info, secret.into()))
    }

    /// The tokens, oldest first; those that have expired among them.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn list(&self) -> Result<Vec<TokenInfo>> {
        const OPERATION: &str = "list the tokens";
        let dir = file::open_keys(&self.state, OPERATION)?;
        let kept = file::read(&dir, &self.path(), OPERATION)?;
        Ok(kept.iter().map(Kept::info).collect())
    }

    /// Revokes a token. A server that runs refuses it from the next request on, and cuts its streams within seconds.
    ///
    /// # Errors
    /// `NotFound`; `StateDirRefused`, `HostIo`.
    pub fn revoke(&self, name: &str) -> Result<()> {
        const OPERATION: &str = "revoke the token";
        let (dir, _lock) = self.lock(OPERATION)?;
        let mut kept = file::read(&dir, &self.path(), OPERATION)?;
        let before = kept.len();
        kept.retain(|token| token.name != name);
        if kept.len() == before {
            return Err(
                Error::new(ErrorKind::NotFound, OPERATION, "there is no token of this name")
                    .with_context("name", name.escape_debug())
                    .with_hint("see `cofferdam token list`"),
            );
        }
        file::write(&dir, &self.path(), OPERATION, &kept)
    }

    fn lock(&self, operation: &'static str) -> Result<(OwnedFd, OwnedFd)> {
        let dir = file::open_keys(&self.state, operation)?;
        let lock = file::lock(&dir, &self.path(), operation)?;
        Ok((dir, lock))
    }

    fn kept(&self) -> Result<Vec<Kept>> {
        const OPERATION: &str = "read the tokens";
        let dir = file::open_keys(&self.state, OPERATION)?;
        file::read(&dir, &self.path(), OPERATION)
    }

    fn state(&self) -> &Path {
        &self.state
    }
}

fn validate(token: &NewToken) -> Result<()> {
    const OPERATION: &str = "make the token";
    let bad = |message: &'static str| Error::new(ErrorKind::InvalidArgument, OPERATION, message);
    let name = token.name.as_str();
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || name.len() > MAX_NAME_BYTES
        || !name.chars().all(legal)
    {
        return Err(bad("this is no name of a token")
            .with_context("name", name.chars().take(80).collect::<String>().escape_debug())
            .with_hint(
                "use at most 64 letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
            ));
    }
    if token.all_sessions && token.scope != TokenScope::Use {
        return Err(
            bad("only tokens with the scope `use` can have all sessions as an extra")
                .with_hint("tokens with the scopes `read` and `admin` see all sessions anyway"),
        );
    }
    if token.expires_at.is_some_and(|at| at <= Timestamp::now()) {
        return Err(bad("the token would have expired before it is made").with_hint("name a time to come"));
    }
    Ok(())
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
