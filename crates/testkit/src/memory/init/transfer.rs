//! Files in and out, as tar streams between the link and a blocking thread.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use session_core::runtime::ContainerSpec;
use session_link::mux::{MuxReader, MuxWriter};
use session_link::wire::frame::{self, Decoder, Kind};
use session_link::{CopyInOptions, CopyOutOptions, ErrorKind, LinkError, Result};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::requests::{end, reply};
use super::{Container, pack, unpack};

/// Chunks between the two sides.
const QUEUE: usize = 8;
/// Bytes of archive in one frame.
const PIECE: usize = 64 << 10;

/// Unpacks what comes on `reader` beneath `dest`.
pub(super) async fn copy_in(
    container: &Arc<Container>,
    dest: &str,
    options: CopyInOptions,
    mut decoder: Decoder,
    reader: &mut MuxReader,
    writer: &mut MuxWriter,
) -> Result<()> {
    let refused = |error| LinkError::io("copy_in", "the destination cannot be made", error);
    let root = container
        .files()
        .writable(ContainerSpec::WORKSPACE_DIR, dest)
        .map_err(refused)?;
    std::fs::create_dir_all(&root).map_err(refused)?;
    reply(writer, &()).await?;
    let (chunks, received) = mpsc::channel(QUEUE);
    let source = ChunkReader {
        chunks: received,
        chunk: Bytes::new(),
        ended: false,
    };
    let work = spawn_blocking(move || unpack::unpack(&root, source, &options));
    let complete = forward(&mut decoder, reader, &chunks).await;
    drop(chunks);
    let report = joined(work).await?;
    complete?;
    reply(writer, &report).await
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
pub(super) async fn copy_out(
    container: &Arc<Container>,
    path: &str,
    options: CopyOutOptions,
    writer: &mut MuxWriter,
) -> Result<()> {
    let root = container.host_path(path);
    std::fs::symlink_metadata(&root)
        .map_err(|error| LinkError::io("copy_out", "the path cannot be opened", error))?;
    reply(writer, &()).await?;
    let (chunks, mut received) = mpsc::channel::<Bytes>(QUEUE);
    let work = spawn_blocking(move || {
        pack::pack(
            &root,
            ChunkWriter {
                chunks,
                buffer: BytesMut::new(),
            },
            &options,
        )
    });
    while let Some(chunk) = received.recv().await {
        let mut bytes = BytesMut::new();
        frame::put(&mut bytes, Kind::Data, 0, &chunk);
        writer
            .write_all(&bytes)
            .await
            .map_err(|error| LinkError::carrier("copy_out", error))?;
    }
    let report = joined(work).await?;
    end(writer, &report).await
}

async fn joined<T>(work: JoinHandle<Result<T>>) -> Result<T> {
    work.await
        .map_err(|error| LinkError::new(ErrorKind::Io, "copy", "the transfer stopped").with_source(error))?
}

/// Reads what the link brings. The end is an end only if it was announced.
pub(super) struct ChunkReader {
    chunks: mpsc::Receiver<Option<Bytes>>,
    chunk: Bytes,
    ended: bool,
}

impl io::Read for ChunkReader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Some(chunk)) => self.chunk = chunk,
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = self.chunk.len().min(target.len());
        self.chunk.copy_to_slice(&mut target[..length]);
        Ok(length)
    }
}

/// Gathers what is written into chunks for the link.
pub(super) struct ChunkWriter {
    chunks: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl io::Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.chunks
            .blocking_send(chunk)
            .map_err(|_gone| io::ErrorKind::ConnectionAborted.into())
    }
}
