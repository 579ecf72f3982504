//! Loopback listeners whose connections come out of the link.
//!
//! A door stays open when the link that opened it closes; its connections then wait a moment for a link that takes them,
//! and are closed if none comes. The newest living link that opened a door gets what comes to it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use session_link::{
    Door, ErrorKind, LinkError, Result,
    mux::{MuxStream, Opener, Term},
    wire::message::{MAX_DOORS, encode_tunnel},
};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::process::LinkId;

/// Connections of one door at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 544;

/// How long a connection waits for a link that takes it.
const LINK_WAIT: Duration = Duration::from_secs(5);

/// How long a door rests when the system gives it no connection.
const REST: Duration = Duration::from_millis(100);

/// Bytes in flight in one direction of one connection.
const BUFFER: usize = 32 << 10;

/// All doors of the session.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    doors: RefCell<BTreeMap<String, Rc<Open>>>,
    tasks: RefCell<JoinSet<()>>,
}

#[derive(Debug)]
struct Open {
    name: String,
    port: u16,
    /// Those that opened it, newest last.
    links: RefCell<Vec<(LinkId, Opener)>>,
    arrived: Notify,
    room: Semaphore,
}

impl Doors {
    /// Opens what is not open, and makes `link` the one that takes their connections.
    ///
    /// # Errors
    /// `InvalidArgument`, `Conflict`, `LimitReached`, `PortInUse`; the doors before the one that failed are open then.
    pub(crate) fn open(&self, wanted: Vec<Door>, link: LinkId, opener: &Opener) -> Result<()> {
        for door in wanted {
            let open = self.find_or_listen(door)?;
            let mut links = open.links.borrow_mut();
            links.retain(|(known, _)| *known != link);
            links.push((link, opener.clone()));
            open.arrived.notify_waiters();
        }
        Ok(())
    }

    /// A link closed: it takes nothing any more.
    pub(crate) fn link_closed(&self, link: LinkId) {
        for door in self.doors.borrow().values() {
            door.links.borrow_mut().retain(|(known, _)| *known != link);
        }
    }

    fn find_or_listen(&self, door: Door) -> Result<Rc<Open>> {
        let mut doors = self.doors.borrow_mut();
        if let Some(open) = doors.get(&door.name) {
            if open.port == door.port {
                return Ok(open.clone());
            }
            return Err(
                about(ErrorKind::Conflict, "the door is open at another port", &door)
                    .with_context("open", open.port.to_string()),
            );
        }
        if !Door::legal_name(&door.name) || door.port == 0 {
            return Err(LinkError::invalid(
                "open_doors",
                "a door has a name of `a-z 0-9 -` and a port",
            ));
        }
        if doors.len() >= MAX_DOORS {
            return Err(about(ErrorKind::LimitReached, "too many doors", &door));
        }
        let listeners = listen(door.port).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::AddrInUse => ErrorKind::PortInUse,
                _ => ErrorKind::of_io(&error),
            };
            about(kind, "the door cannot be opened", &door).with_source(error)
        })?;
        let open = Rc::new(Open {
            name: door.name.clone(),
            port: door.port,
            links: RefCell::default(),
            arrived: Notify::new(),
            room: Semaphore::new(MAX_CONNECTIONS),
        });
        for listener in listeners {
            self.tasks
                .borrow_mut()
                .spawn_local(accept(open.clone(), listener));
        }
        doors.insert(door.name, open.clone());
        Ok(open)
    }
}

fn about(kind: ErrorKind, message: &'static str, door: &Door) -> LinkError {
    LinkError::new(kind, "open_doors", message)
        .with_context("door", &door.name)
        .with_context("port", door.port.to_string())
}

/// Listens on 127.0.0.1, and on ::1 where the container has it.
fn listen(port: u16) -> io::Result<Vec<TcpListener>> {
    let bind = |address: SocketAddr| {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    let mut listeners = vec![bind((Ipv4Addr::LOCALHOST, port).into())?];
    match bind((Ipv6Addr::LOCALHOST, port).into()) {
        Ok(listener) => listeners.push(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(_no_such_address) => {}
    }
    Ok(listeners)
}

async fn accept(door: Rc<Open>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = door.room.acquire().await else {
            return;
        };
        match listener.accept().await {
            Ok((connection, _address)) => {
                place.forget();
                let door = door.clone();
                connections.spawn_local(async move {
                    let _place = Place(&door.room);
                    // What either side does to its connection ends this one; there is nobody to tell.
                    let _ = pass(&door, connection).await;
                });
            }
            // A connection that was given up, or no file descriptor left: neither is the door's fault.
            Err(_) => sleep(REST).await,
        }
    }
}

/// Gives the place back, however the connection ends.
struct Place<'a>(&'a Semaphore);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

async fn pass(door: &Open, mut connection: TcpStream) -> io::Result<()> {
    let Ok(Some(mut tunnel)) = timeout(LINK_WAIT, dial(door)).await else {
        return Ok(());
    };
    connection.set_nodelay(true)?;
    tunnel.write_all(&encode_tunnel(&door.name)).await?;
    copy_bidirectional_with_sizes(&mut connection, &mut tunnel, BUFFER, BUFFER).await?;
    Ok(())
}

/// A stream on the newest link that takes one; waits for a link if there is none.
async fn dial(door: &Open) -> Option<MuxStream> {
    loop {
        let arrived = door.arrived.notified();
        let newest = door.links.borrow().last().cloned();
        let Some((link, opener)) = newest else {
            arrived.await;
            continue;
        };
        match opener.open("tunnel", Term::Tunnel).await {
            Ok(tunnel) => return Some(tunnel),
            Err(error) if error.kind() == ErrorKind::Closed => {
                door.links.borrow_mut().retain(|(known, _)| *known != link);
            }
            // The link is full: this connection is one too many.
            Err(_) => return None,
        }
    }
}
