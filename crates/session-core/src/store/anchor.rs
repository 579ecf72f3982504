//! Where the audit log ended last, kept beside the store and signed: what is cut off its end is missed.
//!
//! A chain of hashes shows what was changed inside it, not what is missing at its end, nor that all of it was written
//! anew. The anchor does: it names the last line and its hash, and only the key of the state directory can sign it. It
//! is moved after each transaction that appended lines, before anybody is answered, and only along a chain that has the
//! line it names; once the chain has not, it stays where it is and every later check says so.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rusqlite::{Connection, OptionalExtension as _};
use rustix::fs::FlockOperation;
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::{Digest as _, Sha256};

use super::audit::{ChainHead, head};
use super::error::storage_error;
use super::events::int;
use crate::error::{Error, ErrorKind, Result};
use crate::state_dir::StateDir;

const TITLE: &str = "cofferdam audit head 1";
/// Always so long, and less than any disk writes at once: it is never half written.
const LENGTH: usize = 256;

/// The anchor of one state directory.
pub(super) struct Anchor {
    /// None when it was missing beside a log that has lines: then nothing shows that these are all.
    file: Option<Mutex<File>>,
    key: SecretSlice<u8>,
}

/// What the anchor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Anchored {
    At(ChainHead),
    /// It is missing, or nobody who has the key wrote it.
    Unknown,
}

impl Anchor {
    /// Opens the anchor; makes it when there is none and no line either.
    pub(super) fn open(dir: &StateDir, connection: &Connection) -> Result<Self> {
        let key = key(&dir.signing_key()?);
        let known = head(connection)
            .map_err(|source| storage_error("open the audit log", &dir.store_path(), Arc::new(source)))?;
        let first = (known.seq == 0).then(|| record(&key, &known));
        Ok(Self {
            file: dir.audit_head(first.as_deref())?.map(Mutex::new),
            key,
        })
    }

    /// What is beside the store now, for a copy that is made after.
    pub(super) fn beside(dir: &StateDir) -> Result<Beside> {
        let key = key(&dir.signing_key()?);
        let bytes = match dir.audit_head(None)? {
            Some(file) => locked_bytes(&file).map_err(|source| {
                Error::new(
                    ErrorKind::HostIo,
                    "copy the store",
                    "where its audit log ended cannot be read",
                )
                .with_source(source)
            })?,
            None => Vec::new(),
        };
        let said = parse(&key, &bytes);
        Ok(Beside { key, bytes, said })
    }

    /// What it says now.
    pub(super) fn read(&self) -> std::io::Result<Anchored> {
        let Some(file) = &self.file else {
            return Ok(Anchored::Unknown);
        };
        // Threads share the file and so its lock; the mutex is between them.
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::fs::flock(&*file, FlockOperation::LockShared)?;
        let found = bytes(&file);
        rustix::fs::flock(&*file, FlockOperation::Unlock)?;
        Ok(parse(&self.key, &found?))
    }

    /// Moves it to the end of the chain. What cannot be written now is made good by the next line.
    pub(super) fn advance(&self, connection: &Connection) {
        let outcome = self.file.as_ref().map_or(Ok(()), |file| {
            let file = file.lock().unwrap_or_else(PoisonError::into_inner);
            rustix::fs::flock(&*file, FlockOperation::LockExclusive)?;
            let moved = self.advance_locked(&file, connection);
            rustix::fs::flock(&*file, FlockOperation::Unlock)?;
            moved
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, "the end of the audit log could not be anchored; the next line tries again");
        }
    }

    fn advance_locked(&self, file: &File, connection: &Connection) -> std::io::Result<()> {
        let Anchored::At(before) = parse(&self.key, &bytes(file)?) else {
            return Ok(());
        };
        let now = head(connection).map_err(std::io::Error::other)?;
        // Another process was faster, or the chain was cut.
        if now.seq <= before.seq || !has(connection, &before).map_err(std::io::Error::other)? {
            return Ok(());
        }
        file.write_all_at(&record(&self.key, &now), 0)
    }
}

/// The anchor that was beside a store before it was copied.
pub(super) struct Beside {
    key: SecretSlice<u8>,
    bytes: Vec<u8>,
    said: Anchored,
}

impl Beside {
    /// The anchor of the copy: for its end, when it has the line that was anchored. Otherwise it is the one that was there,
    /// as it was, so that what is missed in the store is missed in the copy.
    pub(super) fn of_copy(&self, copy: &Connection) -> rusqlite::Result<Vec<u8>> {
        match &self.said {
            Anchored::At(line) if has(copy, line)? => Ok(record(&self.key, &head(copy)?)),
            Anchored::At(_) | Anchored::Unknown => Ok(self.bytes.clone()),
        }
    }
}

/// What a file that others may write has.
fn locked_bytes(file: &File) -> std::io::Result<Vec<u8>> {
    rustix::fs::flock(file, FlockOperation::LockShared)?;
    let found = bytes(file);
    rustix::fs::flock(file, FlockOperation::Unlock)?;
    found
}

/// As much of a file as an anchor has; less when it is shorter.
fn bytes(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH];
    let mut read = 0;
    while read < LENGTH {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

fn parse(key: &SecretSlice<u8>, bytes: &[u8]) -> Anchored {
    if bytes.len() < LENGTH {
        return Anchored::Unknown;
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut fields = text.lines().nth(1).unwrap_or_default().split(' ');
    let (Some(seq), Some(hash)) = (fields.next().and_then(|seq| seq.parse().ok()), fields.next()) else {
        return Anchored::Unknown;
    };
    let claimed = ChainHead {
        seq,
        hash: hash.to_owned(),
    };
    let signature = fields.next().and_then(unhex).unwrap_or_default();
    match mac(key, &claimed).verify_slice(&signature) {
        Ok(()) => Anchored::At(claimed),
        Err(_) => Anchored::Unknown,
    }
}

/// Whether the chain has this line.
pub(super) fn has(connection: &Connection, line: &ChainHead) -> rusqlite::Result<bool> {
    if line.seq == 0 {
        return Ok(*line == ChainHead::default());
    }
    let hash: Option<String> = connection
        .prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?
        .query_row([int(line.seq)], |row| row.get(0))
        .optional()?;
    Ok(hash.as_deref() == Some(&line.hash))
}

fn key(signing_key: &[u8; 32]) -> SecretSlice<u8> {
    let derived = Sha256::new()
        .chain_update(b"cofferdam audit head\0")
        .chain_update(signing_key)
        .finalize();
    derived.to_vec().into()
}

fn mac(key: &SecretSlice<u8>, head: &ChainHead) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(format!("{TITLE}\n{} {}", head.seq, head.hash).as_bytes());
    mac
}

fn record(key: &SecretSlice<u8>, head: &ChainHead) -> Vec<u8> {
    let signature = super::audit::hex(&mac(key, head).finalize().into_bytes());
    let mut bytes = format!("{TITLE}\n{} {} {signature}\n", head.seq, head.hash).into_bytes();
    bytes.resize(LENGTH, b' ');
    bytes
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// What a check of the chain makes of the anchor: the first line that is missing or not as it was, if any is.
pub(super) fn judge(
    connection: &Connection,
    anchored: &Anchored,
    lines: u64,
) -> rusqlite::Result<Option<u64>> {
    Ok(match anchored {
        Anchored::Unknown => Some(lines + 1),
        Anchored::At(line) if line.seq > lines => Some(lines + 1),
        Anchored::At(line) if !has(connection, line)? => Some(line.seq),
        Anchored::At(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_length_whatever_it_says() {
        let key = key(&[7; 32]);
        for seq in [0, 1, u64::MAX] {
            let head = ChainHead {
                seq,
                ..ChainHead::default()
            };
            assert_eq!(record(&key, &head).len(), LENGTH);
        }
    }
}
