//! Loopback ports of the session: what connects to one comes out of the newest link that opened it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_link::mux::{MuxStream, Opener, Term};
use session_link::wire::message::encode_tunnel;
use session_link::{Door, ErrorKind, LinkError, Result};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

/// How long a connection waits for a link that takes it.
const LINK_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Open {
    port: u16,
    /// Those that opened it, newest last.
    links: Vec<(u64, Opener)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::memory) struct Doors {
    open: Mutex<BTreeMap<String, Open>>,
    arrived: Notify,
}

impl Doors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what is not open, and makes `link` the one that takes their connections.
    pub(super) fn open(&self, wanted: Vec<Door>, link: u64, opener: &Opener) -> Result<()> {
        let mut doors = self.lock();
        for door in wanted {
            if doors
                .iter()
                .any(|(name, open)| *name != door.name && open.port == door.port)
            {
                return Err(LinkError::new(
                    ErrorKind::PortInUse,
                    "open_doors",
                    "the door cannot be opened",
                ));
            }
            let open = doors.entry(door.name).or_insert_with(|| Open {
                port: door.port,
                links: Vec::new(),
            });
            if open.port != door.port {
                return Err(LinkError::new(
                    ErrorKind::Conflict,
                    "open_doors",
                    "the door is open at another port",
                ));
            }
            open.links.retain(|(known, _)| *known != link);
            open.links.push((link, opener.clone()));
        }
        self.arrived.notify_waiters();
        Ok(())
    }

    pub(in crate::memory) fn link_closed(&self, link: u64) {
        for door in self.lock().values_mut() {
            door.links.retain(|(known, _)| *known != link);
        }
    }

    /// The ports that are open.
    pub(in crate::memory) fn ports(&self) -> Vec<u16> {
        self.lock().values().map(|door| door.port).collect()
    }

    /// Connects to a port.
    pub(in crate::memory) async fn dial(&self, port: u16) -> io::Result<MuxStream> {
        let connected = tokio::time::timeout(LINK_WAIT, self.connect(port)).await;
        let (name, mut tunnel) = connected.map_err(|_late| io::ErrorKind::ConnectionReset)??;
        tunnel.write_all(&encode_tunnel(&name)).await?;
        Ok(tunnel)
    }

    async fn connect(&self, port: u16) -> io::Result<(String, MuxStream)> {
        loop {
            let arrived = self.arrived.notified();
            let newest = {
                let doors = self.lock();
                let (name, door) = doors
                    .iter()
                    .find(|(_, door)| door.port == port)
                    .ok_or(io::ErrorKind::ConnectionRefused)?;
                door.links
                    .last()
                    .map(|(link, opener)| (name.clone(), *link, opener.clone()))
            };
            let Some((name, link, opener)) = newest else {
                arrived.await;
                continue;
            };
            match opener.open("tunnel", Term::Tunnel).await {
                Ok(tunnel) => return Ok((name, tunnel)),
                Err(error) if error.kind() == ErrorKind::Closed => self.link_closed(link),
                Err(_full) => return Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
    }
}
