//! What the host asks for, one request per stream, answered as `session-init` answers.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use session_link::mux::{MuxReader, MuxStream, MuxWriter, Opener};
use session_link::wire::frame::{self, Decoder, Kind};
use session_link::wire::message::{Failure, MAX_KEYED_WRITE, MAX_REQUEST, Request};
use session_link::{ErrorKind, LinkError, Result};

use super::{Container, transfer};
use crate::memory::process;

/// Answers the request on `stream`.
pub(super) async fn answer(container: Arc<Container>, link: u64, opener: Opener, stream: MuxStream) {
    let (mut reader, mut writer) = stream.split();
    let outcome = match read(&mut reader).await {
        Some((request, decoder)) => {
            Box::pin(serve(
                &container,
                link,
                &opener,
                request,
                decoder,
                &mut reader,
                &mut writer,
            ))
            .await
        }
        None => return,
    };
    if let Err(error) = outcome {
        let failure = serde_json::to_vec(&Failure::of(&error)).unwrap_or_default();
        let _ = send(&mut writer, Kind::Error, &failure).await;
    }
    let _ = writer.shutdown().await;
}

/// The request, and what came behind it.
async fn read(reader: &mut MuxReader) -> Option<(Request, Decoder)> {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(header) = bytes.first_chunk::<4>() {
            let length = u32::from_be_bytes(*header) as usize;
            if length > MAX_REQUEST {
                return None;
            }
            if bytes.len() >= 4 + length {
                let _header = bytes.split_to(4);
                let request = serde_json::from_slice(&bytes.split_to(length)).ok()?;
                let mut decoder = Decoder::default();
                decoder.push(bytes.freeze());
                return Some((request, decoder));
            }
        }
        bytes.extend_from_slice(&reader.chunk().await.ok()??);
    }
}

async fn send(writer: &mut MuxWriter, kind: Kind, payload: &[u8]) -> Result<()> {
    let mut bytes = BytesMut::new();
    frame::put(&mut bytes, kind, 0, payload);
    writer
        .write_all(&bytes)
        .await
        .map_err(|error| LinkError::carrier("answer", error))
}

pub(super) async fn reply(writer: &mut MuxWriter, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(value)
        .map_err(|error| LinkError::invalid("answer", "the answer cannot be encoded").with_source(error))?;
    send(writer, Kind::Reply, &json).await
}

pub(super) async fn end(writer: &mut MuxWriter, value: &impl Serialize) -> Result<()> {
    send(writer, Kind::End, &serde_json::to_vec(value).unwrap_or_default()).await
}

async fn serve(
    container: &Arc<Container>,
    link: u64,
    opener: &Opener,
    request: Request,
    decoder: Decoder,
    reader: &mut MuxReader,
    writer: &mut MuxWriter,
) -> Result<()> {
    let processes = container.processes();
    match request {
        Request::Ping => reply(writer, &()).await,
        Request::Health => reply(writer, &container.health()).await,
        Request::OpenDoors { doors } => {
            container.doors().open(doors, link, opener)?;
            reply(writer, &()).await
        }
        Request::Spawn { spec } => {
            let (process, existed) = processes.spawn(container, spec, link)?;
            reply(writer, &process.spawned(existed)).await
        }
        Request::Run { spec } => {
            let (process, existed) = processes.spawn(container, spec, link)?;
            let spawned = process.spawned(existed);
            process::serve(process, spawned, 0, decoder, reader, writer).await
        }
        Request::Attach { id, from } => {
            let process = processes.get(&id)?;
            let spawned = process.spawned(true);
            process::serve(process, spawned, from, decoder, reader, writer).await
        }
        Request::WriteStdin { id, key, length } => {
            let process = processes.get(&id)?;
            let bytes = input(decoder, reader, length).await?;
            reply(writer, &process.stdin().write_once(key, bytes).await?).await
        }
        Request::CloseStdin { id } => {
            processes.get(&id)?.stdin().close();
            reply(writer, &()).await
        }
        Request::Signal { id, signal } => {
            processes.get(&id)?.signal(signal).await;
            reply(writer, &()).await
        }
        Request::Resize { id, size } => {
            let process = processes.get(&id)?;
            let Some(terminal) = process.terminal() else {
                return Err(LinkError::invalid("resize", "the process has no terminal"));
            };
            let refused = |error| LinkError::io("resize", "the terminal takes no other size", error);
            terminal.resize(size).map_err(refused)?;
            reply(writer, &()).await
        }
        Request::Acknowledge { id, upto } => {
            processes.get(&id)?.acknowledge(upto);
            reply(writer, &()).await
        }
        Request::Forget { id } => {
            processes.forget(&id).await;
            reply(writer, &()).await
        }
        Request::Processes => reply(writer, &processes.list()).await,
        Request::CopyIn { dest, options } => {
            transfer::copy_in(container, &dest, options, decoder, reader, writer).await
        }
        Request::CopyOut { path, options } => transfer::copy_out(container, &path, options, writer).await,
    }
}

/// All bytes of a write with a key: none of them goes anywhere before the last has come.
async fn input(mut decoder: Decoder, reader: &mut MuxReader, length: u64) -> Result<Bytes> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_KEYED_WRITE {
        return Err(LinkError::new(
            ErrorKind::LimitReached,
            "write_stdin",
            "too much for one write",
        ));
    }
    let mut bytes = BytesMut::new();
    while bytes.len() < length {
        match decoder.take()? {
            Some(frame) if frame.kind == Kind::Stdin => bytes.extend_from_slice(&frame.payload),
            Some(_) => {
                return Err(LinkError::protocol(
                    "write_stdin",
                    "a frame that has no place in input",
                ));
            }
            None => match reader.chunk().await {
                Ok(Some(chunk)) => decoder.push(chunk),
                Ok(None) | Err(_) => return Err(LinkError::closed("write_stdin")),
            },
        }
    }
    Ok(bytes.freeze())
}
