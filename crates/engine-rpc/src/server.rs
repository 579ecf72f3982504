//! The engine's end.

use std::io;
use std::sync::Arc;

use futures::StreamExt as _;
use serde::Serialize;
use session_core::label::OwnerId;
use session_core::runtime::{ContainerRuntime, NoProgress};
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::wire::{Answer, Call, Facts, hear, say};

/// Answers whoever connects, until the returned future is dropped: then everything that it carried breaks off, as it does when
/// an engine is killed.
pub async fn serve(listener: UnixListener, runtime: Arc<dyn ContainerRuntime>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Both are cancel-safe, as documented.
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(answer(stream, Arc::clone(&runtime)));
                }
                // Out of descriptors: whoever holds them will let go.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One call. A caller that has gone is nobody's failure.
async fn answer(stream: UnixStream, runtime: Arc<dyn ContainerRuntime>) {
    let mut io = BufReader::new(stream);
    if let Ok(Some(call)) = hear::<Call>(&mut io).await {
        let _gone = dispatch(call, &mut io, &*runtime).await;
    }
}

async fn dispatch(
    call: Call,
    io: &mut BufReader<UnixStream>,
    runtime: &dyn ContainerRuntime,
) -> io::Result<()> {
    match call {
        Call::Facts => {
            let capability = runtime.capability();
            say(io, &Answer::Done(Facts { capability })).await
        }
        Call::Probe => tell(io, runtime.probe().await).await,
        Call::Prepare { image, user } => {
            let prepared = runtime.prepare(&image, user, &NoProgress).await;
            tell(io, prepared).await
        }
        Call::Launch { spec, image } => tell(io, runtime.launch(&spec, &image).await).await,
        Call::Inspect { container } => tell(io, runtime.inspect(&container).await).await,
        Call::List { owner } => tell(io, runtime.list(&owner).await).await,
        Call::Pause { container } => tell(io, runtime.pause(&container).await).await,
        Call::Resume { container } => tell(io, runtime.resume(&container).await).await,
        Call::Remove { container } => tell(io, runtime.remove(&container).await).await,
        Call::StartedAt => tell(io, runtime.started_at().await).await,
        Call::Start { container } => tell(io, runtime.start(&container).await).await,
        Call::Discard { container } => tell(io, runtime.discard(&container).await).await,
        Call::HasWorkspace { container } => tell(io, runtime.has_workspace(&container).await).await,
        Call::Rename { id, name } => tell(io, runtime.rename(&id, &name).await).await,
        Call::Diagnostics { container, limit } => {
            tell(io, runtime.diagnostics(&container, limit).await).await
        }
        Call::Bridge { container } => match runtime.bridge(&container).await {
            Ok(mut bridge) => {
                tell(io, Ok(())).await?;
                tokio::io::copy_bidirectional(io, &mut bridge).await.map(drop)
            }
            Err(error) => tell::<()>(io, Err(error)).await,
        },
        Call::Watch { owner } => watch(&owner, io, runtime).await,
    }
}

async fn tell<T: Serialize>(
    io: &mut BufReader<UnixStream>,
    outcome: session_core::error::Result<T>,
) -> io::Result<()> {
    say(io, &Answer::from(outcome)).await
}

async fn watch(
    owner: &OwnerId,
    io: &mut BufReader<UnixStream>,
    runtime: &dyn ContainerRuntime,
) -> io::Result<()> {
    let mut facts = match runtime.watch(owner).await {
        Ok(facts) => facts,
        Err(error) => return tell::<()>(io, Err(error)).await,
    };
    tell(io, Ok(())).await?;
    loop {
        let mut nothing = [0];
        tokio::select! {
            // Cancel-safe: a stream keeps what was not taken.
            fact = facts.next() => match fact {
                Some(fact) => tell(io, fact).await?,
                None => return Ok(()),
            },
            // Cancel-safe, as documented for `read`: a watcher says nothing more, and its end is all that is waited for.
            read = io.read(&mut nothing) => if read? == 0 { return Ok(()) },
        }
    }
}
