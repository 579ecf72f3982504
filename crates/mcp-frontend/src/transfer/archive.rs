//! What an archive from a session is about, seen from its first header, and archives of one file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use session_core::api::ArchiveStream;
use session_core::error::{Error, ErrorKind, Result};
use session_core::policy::mounts::JudgedDir;
use tar::{EntryType, Header};
use tokio_util::io::{ReaderStream, SyncIoBridge};

const BLOCK: usize = 512;
/// Names up to here stand in the header itself.
const SHORT_NAME: usize = 100;
/// Bytes between the thread that packs and the stream.
const BUFFER: usize = 256 << 10;

/// What a session packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One file (or link) under its own name.
    File,
    /// The contents of a directory.
    Contents,
}

/// Tells a file from a directory. The stream that is given back has everything that was read.
pub(super) async fn look(mut archive: ArchiveStream, path: &str) -> Result<(Shape, ArchiveStream)> {
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
        EntryType::GNULongName => name.len() > SHORT_NAME,
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

/// Packs one judged file under a name.
pub(super) fn pack_file(judged: JudgedDir, name: String) -> ArchiveStream {
    let (reader, writer) = tokio::io::duplex(BUFFER);
    let writer = SyncIoBridge::new(writer);
    let work = tokio::task::spawn_blocking(move || pack_into(&judged, &name, writer));
    let chunks = ReaderStream::with_capacity(reader, BUFFER).map_err(failed);
    // Only the thread's own word makes the archive complete: the pipe also ends when the thread fails.
    let end = stream::once(async move {
        match work.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(failed(error))),
            Err(died) => Some(Err(Error::new(
                ErrorKind::Internal,
                "pack a file",
                "the packing thread died",
            )
            .with_source(died))),
        }
    });
    chunks.chain(end.filter_map(futures::future::ready)).boxed()
}

fn pack_into(judged: &JudgedDir, name: &str, writer: impl io::Write) -> io::Result<()> {
    let file = File::open(super::handle_path(judged))?;
    let mut header = Header::new_gnu();
    header.set_metadata(&file.metadata()?);
    header.set_uid(0);
    header.set_gid(0);
    let mut builder = tar::Builder::new(writer);
    let size = header.size()?;
    // No more than was announced, should the file grow meanwhile.
    builder.append_data(&mut header, name, file.take(size))?;
    io::Write::flush(&mut builder.into_inner()?)
}

fn failed(source: io::Error) -> Error {
    Error::new(ErrorKind::HostIo, "pack a file", "it could not be read").with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, EntryType)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(0);
            builder.append_data(&mut header, name, io::empty()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    async fn seen(bytes: Vec<u8>, path: &str) -> (Shape, Vec<u8>) {
        let chunks: Vec<_> = bytes
            .chunks(100)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        let (shape, stream) = look(stream::iter(chunks).boxed(), path).await.unwrap();
        let out: Vec<Bytes> = stream.try_collect().await.unwrap();
        (shape, out.concat())
    }

    #[tokio::test]
    async fn a_file_and_a_directory_of_one_file_are_told_apart() {
        let one = archive(&[("a", EntryType::Regular)]);
        assert_eq!(
            seen(one.clone(), "/workspace/a").await,
            (Shape::File, one.clone())
        );
        let (shape, bytes) = seen(one.clone(), "/workspace/dir").await;
        assert_eq!(shape, Shape::Contents);
        assert_eq!((&bytes[..3], &bytes[BLOCK..]), (&b"./\0"[..], one.as_slice()));
    }
}
