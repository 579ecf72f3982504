//! Archives for tests of transfers: honest ones, and those that somebody made to do harm.

use std::io::Read;

use bytes::Bytes;
use futures::StreamExt;
use libtest_mimic::Failed;
use session_core::api::ArchiveStream;
use tar::{Builder, EntryType, Header};

/// An archive that is given in pieces of this size, so that headers are cut anywhere.
const PIECE: usize = 700;

/// A builder of archives that checks nothing.
pub(super) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(super) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// A header whose name is written as it is, `..` and all.
    fn header(name: &str, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_mtime(1_700_000_000);
        header.set_size(size);
        let field = &mut header.as_old_mut().name;
        let length = name.len().min(field.len());
        field[..length].copy_from_slice(&name.as_bytes()[..length]);
        header
    }

    fn append(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        // Writing to memory does not fail.
        let _ = self.0.append(&header, content);
        self
    }

    pub(super) fn file(self, name: &str, content: &[u8]) -> Self {
        self.append(
            Self::header(name, EntryType::Regular, content.len() as u64),
            content,
        )
    }

    pub(super) fn executable(self, name: &str, content: &[u8]) -> Self {
        let mut header = Self::header(name, EntryType::Regular, content.len() as u64);
        header.set_mode(0o755);
        self.append(header, content)
    }

    /// A file whose header promises more than there is.
    pub(super) fn claiming(self, name: &str, size: u64, content: &[u8]) -> Self {
        self.append(Self::header(name, EntryType::Regular, size), content)
    }

    pub(super) fn directory(self, name: &str) -> Self {
        self.append(Self::header(name, EntryType::Directory, 0), &[])
    }

    pub(super) fn link(self, name: &str, target: &str, kind: EntryType) -> Self {
        let mut header = Self::header(name, kind, 0);
        let field = &mut header.as_old_mut().linkname;
        field[..target.len()].copy_from_slice(target.as_bytes());
        self.append(header, &[])
    }

    pub(super) fn special(self, name: &str, kind: EntryType) -> Self {
        self.append(Self::header(name, kind, 0), &[])
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_default()
    }

    pub(super) fn stream(self) -> ArchiveStream {
        stream(self.bytes())
    }
}

pub(super) fn stream(bytes: Vec<u8>) -> ArchiveStream {
    let pieces: Vec<_> = bytes
        .chunks(PIECE)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    futures::stream::iter(pieces).boxed()
}

/// One entry of an archive that came back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) kind: char,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

/// Reads a whole archive.
pub(super) async fn read(mut archive: ArchiveStream) -> Result<Vec<Found>, Failed> {
    let mut bytes = Vec::new();
    while let Some(chunk) = archive.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    let mut found = Vec::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if let Some(target) = entry.link_name_bytes() {
            content = target.into_owned();
        }
        let kind = match entry.header().entry_type() {
            EntryType::Directory => 'd',
            EntryType::Symlink => 'l',
            EntryType::Regular => 'f',
            _ => '?',
        };
        found.push(Found {
            name: String::from_utf8_lossy(&entry.path_bytes())
                .trim_end_matches('/')
                .to_owned(),
            kind,
            mode: entry.header().mode()? & 0o777,
            content,
        });
    }
    found.sort();
    Ok(found)
}
