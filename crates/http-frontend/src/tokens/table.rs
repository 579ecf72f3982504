//! The tokens as a server knows them now.

use std::sync::{Arc, PoisonError, RwLock};

use http_api::TokenScope;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use session_core::error::Result;
use subtle::ConstantTimeEq;

use super::file::{self, Stamp};
use super::{TokenFile, digest};
use crate::caller::Caller;

/// Which token, whatever its name is by now: its hash.
pub(crate) type Identity = [u8; 32];

struct Entry {
    identity: Identity,
    caller: Caller,
    expires_at: Option<Timestamp>,
}

impl Entry {
    fn holds(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}

#[derive(Default)]
struct Known {
    stamp: Option<Stamp>,
    entries: Arc<[Entry]>,
}

/// See the module.
pub(crate) struct TokenTable {
    file: Option<TokenFile>,
    /// What the operator chose, whatever the file says.
    fixed: Vec<Entry>,
    known: RwLock<Known>,
}

impl TokenTable {
    /// Reads the file for the first time.
    pub(crate) fn new(file: Option<TokenFile>, key: Option<&(String, SecretString)>) -> Result<Self> {
        let fixed = key.map(|(name, secret)| Entry {
            identity: digest(secret.expose_secret().as_bytes()),
            caller: Caller::with_token(name, TokenScope::Admin, true),
            expires_at: None,
        });
        if let Some(file) = &file {
            // A file that cannot be used is told now, and not to the first caller.
            file.kept()?;
        }
        let table = Self {
            file,
            fixed: fixed.into_iter().collect(),
            known: RwLock::default(),
        };
        table.refresh();
        Ok(table)
    }

    /// Whether anybody could come in at all, now or when a token is made.
    pub(crate) fn can_have_any(&self) -> bool {
        self.file.is_some() || !self.fixed.is_empty()
    }

    /// Who presents this secret.
    ///
    /// What is compared are hashes, each with all of them, so that the time tells nothing.
    pub(crate) fn find(&self, secret: &[u8]) -> Option<(Identity, Caller)> {
        self.refresh();
        let (presented, now) = (digest(secret), Timestamp::now());
        let entries = self.entries();
        let mut found = None;
        for entry in self.fixed.iter().chain(entries.iter()) {
            if bool::from(entry.identity.ct_eq(&presented)) && entry.holds(now) {
                found = Some((entry.identity, entry.caller.clone()));
            }
        }
        found
    }

    /// Whether a token that let somebody in would do so still, as of the last [`TokenTable::refresh`].
    pub(crate) fn holds(&self, identity: &Identity, now: Timestamp) -> bool {
        let entries = self.entries();
        let mut all = self.fixed.iter().chain(entries.iter());
        all.any(|entry| entry.identity == *identity && entry.holds(now))
    }

    /// Whether somebody could still come in as this caller, as of the last [`TokenTable::refresh`].
    pub(crate) fn has(&self, caller: &Caller, now: Timestamp) -> bool {
        let entries = self.entries();
        let mut all = self.fixed.iter().chain(entries.iter());
        caller.name().is_none() || all.any(|entry| entry.caller == *caller && entry.holds(now))
    }

    /// Reads the file again when its entry changed: one `lstat` at other times.
    pub(crate) fn refresh(&self) {
        let Some(file) = &self.file else { return };
        let stamp = match file::stamp(file.state()) {
            Ok(stamp) => stamp,
            Err(error) => {
                tracing::error!(%error, "the tokens cannot be looked at: none is taken");
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::default();
                return;
            }
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).stamp;
        if stamp == known {
            return;
        }
        // A file that is replaced between the two has another stamp at the next look.
        let entries = match file.kept() {
            Ok(kept) => kept.iter().filter_map(entry).collect(),
            Err(error) => {
                tracing::error!(%error, "the tokens cannot be read: none is taken");
                Arc::default()
            }
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { stamp, entries };
    }

    fn entries(&self) -> Arc<[Entry]> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .entries
            .clone()
    }
}

fn entry(kept: &super::Kept) -> Option<Entry> {
    Some(Entry {
        identity: unhex(&kept.sha256)?,
        caller: Caller::with_token(&kept.name, kept.scope, kept.all_sessions),
        expires_at: kept.expires_at,
    })
}

fn unhex(text: &str) -> Option<Identity> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    (digits.len() == 64).then_some(bytes)?.try_into().ok()
}
