//! Connections that programs in the container made to its doors.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::{
    mux::{Incoming, MuxStream},
    wire::message::Door,
};

/// How long a stream may take to say which door it comes from.
const NAME_LIMIT: Duration = Duration::from_secs(5);

/// Tunnels that wait to be taken; more wait in the container.
const WAITING: usize = 64;

/// One connection to a door.
#[derive(Debug)]
pub struct Tunnel {
    /// The door's name, checked for its alphabet only: that it is one of yours is for you to check.
    pub door: String,
    /// The connection. Shutting it down ends one direction.
    pub io: MuxStream,
}

/// Connections to the doors of a link, in the order in which they said their names.
#[derive(Debug)]
pub struct Tunnels {
    tunnels: mpsc::Receiver<Tunnel>,
}

impl Tunnels {
    pub(super) fn start(incoming: Incoming) -> Self {
        let (sender, tunnels) = mpsc::channel(WAITING);
        drop(tokio::spawn(accept(incoming, sender)));
        Self { tunnels }
    }

    /// The next connection; `None` when the link is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Tunnel> {
        self.tunnels.recv().await
    }
}

/// Reads the names, each in a task of its own so that a silent stream holds up no other.
async fn accept(mut incoming: Incoming, tunnels: mpsc::Sender<Tunnel>) {
    let mut naming = JoinSet::new();
    loop {
        tokio::select! {
            // Cancel-safe, as documented for `recv`.
            stream = incoming.recv() => match stream {
                Some(stream) => { naming.spawn(announce(stream, tunnels.clone())); }
                None => return,
            },
            // Cancel-safe: a task that ended is still there at the next call.
            Some(_ended) = naming.join_next() => {}
        }
    }
}

async fn announce(mut io: MuxStream, tunnels: mpsc::Sender<Tunnel>) {
    // Writing nothing acknowledges the stream. The container's end opens only so many that are not, and a door whose
    // client speaks first would leave them so until it answers.
    if io.write(&[]).await.is_err() {
        return;
    }
    match timeout(NAME_LIMIT, name(&mut io)).await {
        // Without a taker the stream is dropped, which the container sees as a connection that is closed.
        Ok(Some(door)) => drop(tunnels.send(Tunnel { door, io }).await),
        Ok(None) => tracing::debug!("a tunnel without a proper name was refused"),
        Err(_elapsed) => tracing::debug!("a tunnel that did not say its name was refused"),
    }
}

async fn name(io: &mut MuxStream) -> Option<String> {
    let length = io.read_u8().await.ok()?;
    let mut name = vec![0; usize::from(length)];
    io.read_exact(&mut name).await.ok()?;
    String::from_utf8(name).ok().filter(|name| Door::legal_name(name))
}
