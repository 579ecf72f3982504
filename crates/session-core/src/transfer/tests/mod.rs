mod hostile;
mod look;
mod pack;
mod place;
mod round_trip;
mod speed;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::api::ArchiveStream;
use crate::error::{Error, ErrorKind, Result};

/// An archive by hand.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn header(kind: EntryType, name: &[u8], size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn member(self, header: &Header, data: &[u8]) -> Self {
        let padding = data.len().next_multiple_of(512) - data.len();
        self.raw(header.as_bytes()).raw(data).raw(&vec![0; padding])
    }

    fn with(self, kind: EntryType, name: impl AsRef<[u8]>, data: &[u8]) -> Self {
        self.member(&Self::header(kind, name.as_ref(), data.len() as u64), data)
    }

    fn file(self, name: impl AsRef<[u8]>, data: &str) -> Self {
        self.with(EntryType::Regular, name, data.as_bytes())
    }

    fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.with(EntryType::Directory, name, b"")
    }

    fn link(self, kind: EntryType, name: impl AsRef<[u8]>, target: &str) -> Self {
        let mut header = Self::header(kind, name.as_ref(), 0);
        header.set_link_name_literal(target).unwrap();
        header.set_cksum();
        self.member(&header, b"")
    }

    fn symlink(self, name: impl AsRef<[u8]>, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

fn archive(bytes: impl Into<Vec<u8>>) -> ArchiveStream {
    // Odd pieces, so that nothing relies on their borders.
    let chunks: Vec<_> = bytes
        .into()
        .chunks(777)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    stream::iter(chunks).boxed()
}

async fn collect(archive: ArchiveStream) -> Result<Vec<u8>> {
    archive
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}

/// What is below a directory: kind, mode, time and content of each path, directories of ours that are left over included.
fn tree(root: &Path) -> BTreeMap<Vec<u8>, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else if meta.is_file() {
                fs::read(&path).unwrap()
            } else {
                open.push(path.clone());
                Vec::new()
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            found.insert(name, (meta.mode(), meta.mtime(), content));
        }
    }
    found
}

fn names(root: &Path) -> Vec<String> {
    tree(root)
        .into_keys()
        .map(|name| String::from_utf8(name).unwrap())
        .collect()
}

/// A destination directory that nobody has used.
struct Host {
    root: TempDir,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("out")).unwrap();
        fs::write(root.path().join("outside"), "untouched").unwrap();
        Self { root }
    }

    fn out(&self) -> PathBuf {
        self.root.path().join("out")
    }

    async fn take(&self, bytes: impl Into<Vec<u8>>) -> Result<Unpacked> {
        unpack(archive(bytes), &self.out(), UnpackOptions::default()).await
    }

    /// The archive is refused, and nothing of it is left anywhere.
    async fn refuse(&self, bytes: impl Into<Vec<u8>>) -> Error {
        self.refuse_with(bytes, UnpackOptions::default()).await
    }

    async fn refuse_with(&self, bytes: impl Into<Vec<u8>>, options: UnpackOptions) -> Error {
        let before = tree(self.root.path());
        let error = unpack(archive(bytes), &self.out(), options)
            .await
            .expect_err("must be refused");
        let untouched = tree(self.root.path());
        assert_eq!(
            untouched.keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>(),
            "something was left after: {error}"
        );
        assert_eq!(untouched[&b"outside"[..]].2, b"untouched");
        error
    }
}
