//! One request: read, done, answered.

use std::rc::Rc;

use session_link::{
    Health, LinkError, Result,
    mux::{MuxReader, MuxStream, MuxWriter},
    wire::{frame::Decoder, message::Request},
};

use super::{
    LinkHandle,
    reply::{self, failure},
    request,
};
use crate::{
    files,
    init::Init,
    process::{self, Place},
};

/// Serves one stream of `link`.
pub(super) async fn stream(init: Rc<Init>, link: LinkHandle, stream: MuxStream) {
    let (mut reader, mut writer) = stream.split();
    let served = match request::read(&mut reader).await {
        Ok((request, decoder)) => {
            Box::pin(dispatch(&init, &link, request, decoder, &mut reader, &mut writer)).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        failure(&mut writer, &error).await;
    }
    // If this fails the stream is gone already.
    let _ = writer.shutdown().await;
}

async fn dispatch(
    init: &Init,
    link: &LinkHandle,
    request: Request,
    decoder: Decoder,
    reader: &mut MuxReader,
    writer: &mut MuxWriter,
) -> Result<()> {
    match request {
        Request::Ping => reply::value(writer, &()).await,
        Request::Health => reply::value(writer, &health(init)).await,
        Request::OpenDoors { doors } => {
            init.doors.open(doors, link.id, &link.opener)?;
            reply::value(writer, &()).await
        }
        Request::CopyIn { dest, options } => {
            let report = files::copy_in(dest, options, decoder, reader, writer).await?;
            reply::value(writer, &report).await
        }
        Request::CopyOut { path, options } => {
            let report = files::copy_out(path, options, writer).await?;
            reply::end(writer, &report).await
        }
        request => of_process(init, link, request, decoder, reader, writer).await,
    }
}

async fn of_process(
    init: &Init,
    link: &LinkHandle,
    request: Request,
    decoder: Decoder,
    reader: &mut MuxReader,
    writer: &mut MuxWriter,
) -> Result<()> {
    let registry = &init.registry;
    match request {
        Request::Run { spec } => {
            let (process, existed) = registry.spawn(spec, link.id)?;
            let place = Place::take(&process, 0);
            let spawned = registry.started(&process, existed).await?;
            process::serve(place, spawned, decoder, reader, writer).await
        }
        Request::Spawn { spec } => {
            let (process, existed) = registry.spawn(spec, link.id)?;
            let spawned = registry.started(&process, existed).await?;
            reply::value(writer, &spawned).await
        }
        Request::Attach { id, from } => {
            let process = registry.get(&id)?;
            let place = Place::take(&process, from);
            let spawned = registry.started(&process, true).await?;
            process::serve(place, spawned, decoder, reader, writer).await
        }
        Request::WriteStdin { id, key, length } => {
            let process = registry.get(&id)?;
            let bytes = request::read_input(&id, length, decoder, reader).await?;
            reply::value(writer, &process.stdin().write_once(key, bytes).await?).await
        }
        Request::CloseStdin { id } => {
            registry.get(&id)?.stdin().close();
            reply::value(writer, &()).await
        }
        Request::Signal { id, signal } => {
            registry.get(&id)?.signal(signal).await;
            reply::value(writer, &()).await
        }
        Request::Resize { id, size } => {
            registry.get(&id)?.resize(size)?;
            reply::value(writer, &()).await
        }
        Request::Acknowledge { id, upto } => {
            registry.get(&id)?.acknowledge(upto);
            reply::value(writer, &()).await
        }
        Request::Forget { id } => {
            registry.forget(&id).await;
            reply::value(writer, &()).await
        }
        Request::Processes => reply::value(writer, &registry.list()).await,
        _ => Err(LinkError::protocol(
            "request",
            "a request that nobody here answers",
        )),
    }
}

fn health(init: &Init) -> Health {
    let mut health = Health {
        uptime: init.started.elapsed(),
        processes: u32::try_from(init.registry.running()).unwrap_or(u32::MAX),
        ..Health::default()
    };
    init.cgroup.measure(&mut health);
    health
}
