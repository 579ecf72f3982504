//! Restoring a backup.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::{
    AUDIT_HEAD, CHECKPOINTS, FORMAT, MANIFEST, MAX_MANIFEST, MAX_POLICY, Manifest, Member, POLICY,
    RestoreReport, STORE, hex, io_error, is_allowed,
};
use crate::error::{Error, ErrorKind, Result};
use crate::state_dir::StateDir;
use crate::store;

const OPERATION: &str = "restore the backup";

/// Puts a backup in the place of what the state directory has, which is kept aside. Everything in the archive is checked
/// before anything is changed. Blocks its thread.
///
/// # Errors
/// `Busy` while somebody serves the directory or has its store open. `ArchiveRefused` when it is no backup, is cut off, or
/// a file in it is not what it was; `StateDirRefused` when a newer version took it; `StoreFailed` when its store is
/// damaged; `HostIo`. After any of them everything is as it was.
pub fn restore_backup(dir: &StateDir, archive: impl Read) -> Result<RestoreReport> {
    let _serving = dir.lock_serving()?;
    dir.finish_swap()?;
    let restored = restore(dir, archive);
    if restored.is_err() {
        dir.abandon_swap();
    }
    restored
}

fn restore(dir: &StateDir, archive: impl Read) -> Result<RestoreReport> {
    let draft = dir.begin_swap()?;
    let (manifest, policy) = unpack(archive, draft.path())?;
    let prepared = store::prepare(&draft, manifest.taken_at)?;
    // Until it is swapped: whoever opens the store meanwhile waits, and has the new one.
    let alone = dir.lock_swap()?;
    if dir.has_store()? && !store::fold(&dir.store_path())? {
        return Err(Error::new(
            ErrorKind::Busy,
            OPERATION,
            "another process works on the state directory",
        )
        .with_context("state directory", dir.path().display())
        .with_hint("end what works on it, such as a command that runs in it, then try again"));
    }
    let aside = format!(
        "before-restore-{}",
        Timestamp::now().strftime("%Y%m%dT%H%M%S.%6fZ")
    );
    let kept_aside = dir.commit_swap(&draft, &aside, &alone)?;
    Ok(RestoreReport {
        taken_at: manifest.taken_at,
        files: manifest.files.len() as u64,
        kept_aside,
        sessions: prepared.sessions,
        failed_turns: prepared.failed_turns,
        policy,
    })
}

pub(super) fn unpack(archive: impl Read, into: &Path) -> Result<(Manifest, Option<Vec<u8>>)> {
    let mut archive = Archive::new(archive);
    let mut entries = archive.entries().map_err(unreadable)?;
    let first = entries.next().ok_or_else(|| refused("it is empty"))?;
    let manifest = read_manifest(first.map_err(unreadable)?)?;
    let mut policy = None;
    let mut members = manifest.files.iter();
    for member in &mut members {
        let entry = entries
            .next()
            .ok_or_else(|| refused("it is cut off").with_context("missing", &member.name))?;
        let entry = entry.map_err(unreadable)?;
        if !is_member(&entry, member) {
            return Err(refused("a file in it is not the one that its manifest names")
                .with_context("file", member.name.escape_debug()));
        }
        if member.name == POLICY {
            let mut bytes = Vec::new();
            copy(entry, &mut bytes, member)?;
            policy = Some(bytes);
        } else {
            let mut file = create(into, &member.name)
                .map_err(|source| io_error(OPERATION, "a file could not be written", source))?;
            copy(entry, &mut file, member)?;
        }
    }
    Ok((manifest, policy))
}

fn read_manifest(mut entry: Entry<'_, impl Read>) -> Result<Manifest> {
    if entry.path_bytes().as_ref() != MANIFEST.as_bytes() || entry.size() > MAX_MANIFEST {
        return Err(refused("it does not begin with a manifest"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(unreadable)?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|source| refused("its manifest cannot be read").with_source(source))?;
    if manifest.format != FORMAT {
        return Err(Error::new(
            ErrorKind::StateDirRefused,
            OPERATION,
            "another version of Cofferdam took it",
        )
        .with_context("its format", manifest.format.escape_debug())
        .with_context("its version", manifest.version.escape_debug())
        .with_hint("restore it with that version"));
    }
    check(&manifest.files)?;
    Ok(manifest)
}

/// What a state directory can have, each once, and nothing missing without which it is none.
fn check(members: &[Member]) -> Result<()> {
    let mut names = HashSet::new();
    for member in members {
        if !is_allowed(&member.name) || !names.insert(member.name.as_str()) {
            return Err(refused("it has what no backup has").with_context("file", member.name.escape_debug()));
        }
        if member.name == POLICY && member.bytes > MAX_POLICY {
            return Err(refused("its policy is longer than any"));
        }
    }
    for needed in [STORE, AUDIT_HEAD, "keys/label.key"] {
        if !names.contains(needed) {
            return Err(refused("it lacks what every backup has").with_context("missing", needed));
        }
    }
    Ok(())
}

fn is_member(entry: &Entry<'_, impl Read>, member: &Member) -> bool {
    entry.path_bytes().as_ref() == member.name.as_bytes()
        && entry.size() == member.bytes
        && entry.header().entry_type() == EntryType::Regular
}

fn create(into: &Path, name: &str) -> io::Result<File> {
    let path = into.join(name);
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Copies a file of the archive, which has to be what it was.
fn copy(mut entry: impl Read, out: &mut impl io::Write, member: &Member) -> Result<()> {
    let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; 128 * 1024], 0);
    loop {
        let count = entry.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
        out.write_all(&buffer[..count])
            .map_err(|source| io_error(OPERATION, "a file could not be written", source))?;
    }
    let found = hex(&hasher.finalize());
    let named_so = !member.name.starts_with(CHECKPOINTS) || member.name.ends_with(&found);
    if bytes == member.bytes && found == member.sha256 && named_so {
        return out
            .flush()
            .map_err(|source| io_error(OPERATION, "a file could not be written", source));
    }
    Err(refused("a file in it is damaged").with_context("file", &member.name))
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::ArchiveRefused, OPERATION, message)
        .with_hint("name an archive that `cofferdam backup` wrote, whole")
}

fn unreadable(source: io::Error) -> Error {
    refused("the archive cannot be read to its end").with_source(source)
}
