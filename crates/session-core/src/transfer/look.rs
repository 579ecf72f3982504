//! What an archive from a session is about, seen from its first header.
//!
//! A session packs what is at a path and does not say what it is: a file under its own name, or the contents of a
//! directory. Where something goes depends on which it is, so this looks before anything is unpacked.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use tar::{EntryType, Header};

use super::{BLOCK, NAME_BYTES};
use crate::api::ArchiveStream;
use crate::error::{ErrorKind, Result};

/// What a session packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One file (or link) under its own name.
    File,
    /// The contents of a directory.
    Contents,
}

/// Tells a file from a directory, in the archive that a session made of `path`. The stream that is given back has
/// everything that was read; the contents of a directory begin with an entry for the directory itself (`./`), which is
/// put before them unless it is there.
///
/// # Errors
/// Those of the stream.
pub async fn look(mut archive: ArchiveStream, path: &str) -> Result<(Shape, ArchiveStream)> {
    let mut head = BytesMut::new();
    while head.len() < BLOCK {
        match archive.next().await {
            Some(chunk) => head.extend_from_slice(&chunk?),
            None => break,
        }
    }
    let shape = shape(&head, path);
    // Without an entry for itself, a directory with one file in it looks like that file.
    let described = (shape == Shape::Contents && !head.starts_with(b"./\0")).then(root_entry);
    let front = described.into_iter().chain([head.freeze()]).map(Ok);
    Ok((shape, stream::iter(front).chain(archive).boxed()))
}

/// Whether a directory is at `path` inside a session, going by what the session packs of it. `packed` asks the session
/// for that and is not polled for `.` and `..`, which are nothing else.
///
/// # Errors
/// Those of `packed` and of the stream, save `PathNotFound`: what is not there is no directory.
pub async fn is_directory(path: &str, packed: impl Future<Output = Result<ArchiveStream>>) -> Result<bool> {
    if matches!(path, "." | "..") || path.ends_with("/.") || path.ends_with("/..") {
        return Ok(true);
    }
    let looked = match packed.await {
        Ok(archive) => look(archive, path).await,
        Err(error) => Err(error),
    };
    match looked {
        Ok((shape, _)) => Ok(shape == Shape::Contents),
        Err(error) if error.kind() == ErrorKind::PathNotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn shape(head: &[u8], path: &str) -> Shape {
    let Some(name) = Path::new(path).file_name().map(|name| name.as_encoded_bytes()) else {
        return Shape::Contents;
    };
    let Some(block) = head.first_chunk::<BLOCK>() else {
        return Shape::Contents;
    };
    let header = Header::from_byte_slice(block);
    let single = match header.entry_type() {
        EntryType::Regular | EntryType::Symlink | EntryType::Link => *header.path_bytes() == *name,
        EntryType::GNULongName => name.len() > NAME_BYTES,
        _ => false,
    };
    if single { Shape::File } else { Shape::Contents }
}

fn root_entry() -> Bytes {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    if let Some(field) = header.as_old_mut().name.first_chunk_mut() {
        *field = *b"./";
    }
    header.set_cksum();
    Bytes::copy_from_slice(header.as_bytes())
}
