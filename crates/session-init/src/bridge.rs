//! The bridge carrier: an engine's exec stream, connected to init.
//!
//! `session-init bridge` runs as an exec in the container and copies between its own standard streams and an abstract
//! socket of init's. Any program of the session can connect there as well, so init takes only peers that were started from
//! outside of the container: those have no parent in here, and nothing that is started in here can be like that.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    rc::Rc,
    thread,
    time::Duration,
};

use rustix::process::DumpableBehavior;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::sleep,
};

use crate::{diagnose, init::Init, process::tree, session};

/// Bridges at once.
const MAX_BRIDGES: usize = 16;

/// Bytes copied at once by a bridge.
const BUFFER: usize = 128 << 10;

/// How long accepting rests after a failure.
const REST: Duration = Duration::from_millis(100);

fn address(session: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("cofferdam/bridge/{session}"))
}

/// Listens for bridges of `session`.
///
/// # Errors
/// What the system says; another init in the same network namespace may have the name.
pub(crate) fn listen(session: &str) -> io::Result<UnixListener> {
    let listener = StdUnixListener::bind_addr(&address(session)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Serves every bridge that may be one.
pub(crate) async fn accept(init: Rc<Init>, listener: UnixListener) {
    let mut bridges = JoinSet::new();
    let mut refused = false;
    loop {
        let Ok((io, _address)) = listener.accept().await else {
            sleep(REST).await;
            continue;
        };
        while bridges.try_join_next().is_some() {}
        if bridges.len() < MAX_BRIDGES && comes_from_outside(&io) {
            bridges.spawn_local(serve(init.clone(), io));
        } else if !std::mem::replace(&mut refused, true) {
            // Once: any program in here could otherwise fill the log.
            diagnose("a connection to the bridge was refused; more are refused silently");
        }
    }
}

async fn serve(init: Rc<Init>, io: UnixStream) {
    if let Err(error) = session::run(init, io).await {
        diagnose(&format!("a link over the bridge was not established: {error}"));
    }
}

fn comes_from_outside(io: &UnixStream) -> bool {
    let Ok(peer) = io.peer_cred() else { return false };
    let own = rustix::process::geteuid().as_raw();
    let trusted = peer.uid() == own || peer.uid() == 0;
    // Not being PID 1 it shares its process ids with whoever started it, and cannot tell outside from inside.
    let outside = std::process::id() != 1
        || peer
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .and_then(tree::parent_of)
            == Some(0);
    trusted && outside
}

/// The bridge itself: copies until either side ends.
///
/// # Errors
/// `ConnectionRefused` if no init runs here; what reading and writing failed with.
pub(crate) fn run(session: &str) -> io::Result<()> {
    // A program of the session could else take over this one, which init trusts.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut socket = StdUnixStream::connect_addr(&address(session)?)?;
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut to_init = socket.try_clone()?;
    // Ends with the process at the latest, since reading the engine's stream cannot be interrupted.
    drop(thread::Builder::new().spawn(move || {
        let copied = copy(&mut input, &mut to_init);
        // The other direction notices that the link is over.
        let _ = to_init.shutdown(if copied.is_ok() {
            Shutdown::Write
        } else {
            Shutdown::Both
        });
    })?);
    copy(&mut socket, &mut output)
}

/// Copies to the end. Not [`io::copy`], which splices: a splice that waits for a socket holds the lock of the pipe it
/// will write to, so that whoever reads that pipe cannot even take what is in it.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
