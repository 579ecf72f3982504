//! Files in and out of the container, as tar streams.
//!
//! The file system work is done on a thread of its own, because it blocks; a bounded channel of chunks lies between it
//! and the link. Whoever is slower is waited for.

mod archive;
mod beneath;
mod chunks;
mod extract;

use std::{io, thread};

use bytes::Bytes;
use session_link::{
    CopyInOptions, CopyOutOptions, CopyReport, ErrorKind, LinkError, Result,
    mux::{MuxReader, MuxWriter},
    wire::frame::{Decoder, Kind},
};
use tokio::sync::{mpsc, oneshot};

use crate::session::reply;
use chunks::{ChunkReader, ChunkWriter};

/// Chunks between the two sides; each is at most 128 KiB.
const QUEUE: usize = 8;

/// For the deepest tree that is packed, with much to spare; only what is used is memory.
const STACK: usize = 16 << 20;

/// Unpacks what comes on `reader` beneath `dest`.
///
/// # Errors
/// What is wrong with the archive, or what the file system says.
pub(crate) async fn copy_in(
    dest: String,
    options: CopyInOptions,
    mut decoder: Decoder,
    reader: &mut MuxReader,
    writer: &mut MuxWriter,
) -> Result<CopyReport> {
    let (chunks, received) = mpsc::channel(QUEUE);
    let (ready, is_ready) = oneshot::channel();
    let work = on_a_thread(move || {
        let root = extract::open(&dest)?;
        // Nobody waits for it only if the link is gone, which the chunks will tell.
        let _ = ready.send(());
        extract::unpack(&root, ChunkReader::new(received), &options)
    })?;
    if is_ready.await.is_err() {
        return joined(work).await;
    }
    reply::value(writer, &()).await?;
    let complete = forward(&mut decoder, reader, &chunks).await;
    drop(chunks);
    let report = joined(work).await?;
    complete.map(|()| report)
}

/// Passes an archive on until it is complete, or the other side of the channel has failed.
async fn forward(
    decoder: &mut Decoder,
    reader: &mut MuxReader,
    chunks: &mpsc::Sender<Option<Bytes>>,
) -> Result<()> {
    loop {
        match decoder.take()? {
            Some(frame) if frame.kind == Kind::Data => {
                if chunks.send(Some(frame.payload)).await.is_err() {
                    return Ok(());
                }
            }
            Some(frame) if frame.kind == Kind::End => {
                // Whether it was still wanted is known by the result.
                let _ = chunks.send(None).await;
                return Ok(());
            }
            Some(_) => {
                return Err(LinkError::protocol(
                    "copy_in",
                    "a frame that has no place in an archive",
                ));
            }
            None => match reader.chunk().await {
                Ok(Some(chunk)) => decoder.push(chunk),
                Ok(None) | Err(_) => return Err(LinkError::closed("copy_in")),
            },
        }
    }
}

/// Packs `path` and sends it on `writer`.
///
/// # Errors
/// What the file system says, `LimitReached` for more than the options allow.
pub(crate) async fn copy_out(
    path: String,
    options: CopyOutOptions,
    writer: &mut MuxWriter,
) -> Result<CopyReport> {
    let (sender, mut chunks) = mpsc::channel::<Bytes>(QUEUE);
    let (ready, is_ready) = oneshot::channel();
    let work = on_a_thread(move || {
        let root = archive::open(&path)?;
        let _ = ready.send(());
        archive::pack(root, ChunkWriter::new(sender), &options)
    })?;
    if is_ready.await.is_err() {
        return joined(work).await;
    }
    reply::value(writer, &()).await?;
    while let Some(frame) = chunks.recv().await {
        writer
            .write_all(&frame)
            .await
            .map_err(|error| LinkError::carrier("copy_out", error))?;
    }
    joined(work).await
}

/// What comes of work on another thread.
type Work<T> = oneshot::Receiver<Result<T>>;

/// Does `work` on a thread of its own. Not on the runtime's: that panics where a container has no room for a thread.
fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<Work<T>> {
    let (sender, done) = oneshot::channel();
    let spawned = thread::Builder::new()
        .name("files".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            // Nobody waits for the result only if the link is gone.
            let _ = sender.send(work());
        });
    match spawned {
        Ok(_detached) => Ok(done),
        Err(error) => Err(LinkError::new(
            ErrorKind::LimitReached,
            "copy",
            "the container has no room for a thread",
        )
        .with_source(error)),
    }
}

async fn joined<T>(work: Work<T>) -> Result<T> {
    work.await
        .map_err(|error| LinkError::new(ErrorKind::Io, "copy", "the transfer stopped").with_source(error))?
}

/// What a file system call means to the caller.
fn failed(operation: &'static str, path: &[u8], error: impl Into<io::Error>) -> LinkError {
    let error = error.into();
    let kind = match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => ErrorKind::LimitReached,
        Some(rustix::io::Errno::DQUOT) => ErrorKind::NoSpace,
        _ => ErrorKind::of_io(&error),
    };
    LinkError::new(kind, operation, "a file operation failed")
        .with_context("path", String::from_utf8_lossy(path))
        .with_source(error)
}
