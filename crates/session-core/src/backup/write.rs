//! Taking a backup.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::{
    AUDIT_HEAD, BackupReport, CHECKPOINTS, FORMAT, KEYS, MANIFEST, MAX_MANIFEST, MAX_PARTS, MAX_POLICY,
    Manifest, Member, POLICY, STORAGE, STORE, hex, io_error, is_allowed,
};
use crate::error::{Error, ErrorKind, Result};
use crate::state_dir::{ContentsLock, StateDir};
use crate::store::Store;

const OPERATION: &str = "take a backup";
/// Files up to this size are held in memory until their turn comes, since there may be more than can be open.
const SMALL: u64 = 256 * 1024;

/// Writes a backup of the state directory to `out`, with the operator's policy if it is given, and gives `out` back after
/// its last byte. Whoever serves the directory, or works on it, goes on meanwhile; the archive has one moment's state.
///
/// # Errors
/// `HostIo` when something cannot be read or written, `StoreFailed` for a damaged store. `LimitExceeded` for a policy that
/// is none, by its size.
pub async fn backup<W: Write + Send + 'static>(
    dir: &StateDir,
    store: &Store,
    policy: Option<Vec<u8>>,
    out: W,
) -> Result<(BackupReport, W)> {
    if policy
        .as_ref()
        .is_some_and(|policy| policy.len() as u64 > MAX_POLICY)
    {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            OPERATION,
            "the policy is longer than any",
        ));
    }
    let (dir, store) = (dir.clone(), store.clone());
    let write = move || Writing::prepare(&dir, &store, policy)?.write(out);
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|ended| {
        Err(Error::new(ErrorKind::Internal, OPERATION, "the thread that wrote it ended").with_source(ended))
    })
}

/// Everything that will be in the archive, opened or kept from being removed.
struct Writing {
    _kept: ContentsLock,
    manifest: Manifest,
    sources: Vec<Source>,
    missing: Vec<String>,
    left_out: Vec<String>,
}

/// Where the content of a member is.
enum Source {
    Open(File),
    Bytes(Vec<u8>),
    Path(PathBuf),
}

impl Writing {
    fn prepare(dir: &StateDir, store: &Store, policy: Option<Vec<u8>>) -> Result<Self> {
        // From before it is known what the store names until all of it is in the archive. Whoever would remove a content
        // leaves it until later.
        let kept = dir.contents()?.lock_to_keep()?;
        let taken_at = Timestamp::now();
        let snapshot = store.snapshot(dir)?;
        let mut writing = Self {
            _kept: kept,
            manifest: Manifest {
                format: FORMAT.to_owned(),
                taken_at,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                files: Vec::new(),
            },
            sources: Vec::new(),
            missing: Vec::new(),
            left_out: Vec::new(),
        };
        writing.add_file(STORE.to_owned(), snapshot.file)?;
        writing.add_bytes(AUDIT_HEAD, snapshot.audit_head);
        for tree in [KEYS, STORAGE] {
            writing.add_tree(&dir.path().join(tree), tree)?;
        }
        if let Some(policy) = policy {
            writing.add_bytes(POLICY, policy);
        }
        for sha256 in snapshot.checkpoints {
            writing.add_checkpoint(dir.path(), sha256)?;
        }
        Ok(writing)
    }

    fn add_bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.manifest.files.push(Member {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(&bytes)),
        });
        self.sources.push(Source::Bytes(bytes));
    }

    fn add_file(&mut self, name: String, mut file: File) -> Result<()> {
        let failed = |source| io_error(OPERATION, "a file could not be read", source);
        let (bytes, sha256) = digest(&mut file).map_err(failed)?;
        file.rewind().map_err(failed)?;
        self.manifest.files.push(Member { name, bytes, sha256 });
        self.sources.push(Source::Open(file));
        Ok(())
    }

    /// Every file of ours below a directory that is ours alone; what is in it and no file is nobody's.
    fn add_tree(&mut self, dir: &Path, name: &str) -> Result<()> {
        let failed = |source| io_error(OPERATION, "a directory could not be read", source);
        let mut entries: Vec<_> = match std::fs::read_dir(dir).and_then(Iterator::collect) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let own = entry.file_name();
            let name = format!("{name}/{}", own.to_string_lossy());
            let kind = entry.file_type().map_err(failed)?;
            let is_file = kind.is_file() && !is_passing(&name);
            if kind.is_dir() && name.split('/').count() < MAX_PARTS {
                self.add_tree(&entry.path(), &name)?;
            } else if is_file && is_allowed(&name) {
                self.add_small(name, &entry.path())?;
            } else if is_file || kind.is_dir() {
                self.left_out.push(name);
            }
        }
        Ok(())
    }

    /// A file that is replaced as a whole and never changed, such as a key.
    fn add_small(&mut self, name: String, path: &Path) -> Result<()> {
        let failed = |source| io_error(OPERATION, "a file could not be read", source);
        let file = match File::open(path) {
            Ok(file) => file,
            // Replaced or removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.len() > SMALL {
            return self.add_file(name, file);
        }
        let mut bytes = Vec::new();
        file.take(SMALL).read_to_end(&mut bytes).map_err(failed)?;
        self.add_bytes(&name, bytes);
        Ok(())
    }

    /// Content never changes under its name and is kept from being removed, so it is opened when its turn comes: there may be
    /// many.
    fn add_checkpoint(&mut self, state: &Path, sha256: String) -> Result<()> {
        let place = sha256.get(..2).unwrap_or_default();
        let name = format!("{CHECKPOINTS}/{place}/{sha256}");
        if !is_allowed(&name) {
            // The record is damaged.
            self.missing.push(sha256);
            return Ok(());
        }
        let path = state.join(&name);
        let found = File::open(&path).and_then(|mut file| digest(&mut file));
        match found {
            Ok((bytes, found)) if found == sha256 => {
                self.manifest.files.push(Member { name, bytes, sha256 });
                self.sources.push(Source::Path(path));
            }
            Ok(_) => self.missing.push(sha256),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.missing.push(sha256),
            Err(error) => return Err(io_error(OPERATION, "a checkpoint could not be read", error)),
        }
        Ok(())
    }

    fn write<W: Write>(self, out: W) -> Result<(BackupReport, W)> {
        let failed = |source| io_error(OPERATION, "the archive could not be written", source);
        let manifest = serde_json::to_vec_pretty(&self.manifest).map_err(|source| {
            Error::new(ErrorKind::Internal, OPERATION, "its manifest cannot be written").with_source(source)
        })?;
        if manifest.len() as u64 > MAX_MANIFEST {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                OPERATION,
                "there are more files than a backup can have",
            )
            .with_context("files", self.manifest.files.len()));
        }
        let mut tar = Builder::new(out);
        let at = self.manifest.taken_at;
        append(&mut tar, MANIFEST, manifest.len() as u64, at, manifest.as_slice()).map_err(failed)?;
        for (member, source) in self.manifest.files.iter().zip(self.sources) {
            let content: Box<dyn Read> = match source {
                Source::Open(file) => Box::new(file),
                Source::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
                Source::Path(path) => Box::new(File::open(path).map_err(failed)?),
            };
            // A file that became shorter would leave an archive that cannot be read; a longer one is cut.
            append(
                &mut tar,
                &member.name,
                member.bytes,
                at,
                Exactly::new(content, member.bytes),
            )
            .map_err(failed)?;
        }
        let mut out = tar.into_inner().map_err(failed)?;
        out.flush().map_err(failed)?;
        let report = BackupReport {
            taken_at: at,
            files: self.manifest.files.len() as u64,
            bytes: self.manifest.files.iter().map(|member| member.bytes).sum(),
            missing: self.missing,
            left_out: self.left_out,
        };
        Ok((report, out))
    }
}

/// Whether a file of ours is there only while somebody writes another, or keeps others from that.
fn is_passing(name: &str) -> bool {
    [".draft", ".lock", ".new"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

fn append<W: Write>(
    tar: &mut Builder<W>,
    name: &str,
    bytes: u64,
    at: Timestamp,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(bytes);
    header.set_mtime(u64::try_from(at.as_second()).unwrap_or_default());
    tar.append_data(&mut header, name, content)
}

/// Size and SHA-256 of what is left to read.
pub(super) fn digest(file: &mut impl Read) -> io::Result<(u64, String)> {
    let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; 128 * 1024], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(&hasher.finalize()))),
            count => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// So many bytes, or an error.
struct Exactly<R> {
    content: R,
    left: u64,
}

impl<R> Exactly<R> {
    fn new(content: R, left: u64) -> Self {
        Self { content, left }
    }
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.content.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file became shorter while it was copied",
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
