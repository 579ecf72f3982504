//! Many conversations on one stream: yamux, driven by one task that owns the connection.
//!
//! ```text
//!  Opener ──▶ request ─┐                      ┌─▶ Incoming ──▶ streams the other end opened
//!                      ▼                      │
//!                  Driver (owns yamux::Connection over the carrier)
//!                      ▲                      │
//!  MuxStream ◀─────────┴──────────────────────┘   read and written by whoever holds it
//! ```
//!
//! Bounds, so that neither end can grow the other: streams of either direction are counted here before yamux counts
//! them (yamux closes the connection when its own count is reached), each stream is guaranteed 256 KiB of window and all
//! of them together may grow by 4 MiB only.

mod carrier;
mod driver;
mod stream;

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorKind, LinkError, Result};

pub use driver::Driver;
pub use stream::{MuxReader, MuxStream, MuxWriter};

/// Streams of one link that may be open for long at once, opened by this end: attached processes and transfers.
pub const MAX_LONG: usize = 160;

/// Streams of one link that are open for one short answer at once; more wait for their turn.
pub const MAX_SHORT: usize = 32;

/// Streams of one link that the other end may have open at once; more are refused. Connections of programs in the
/// container arrive on them, and a package manager at work holds hundreds.
pub const MAX_INCOMING: usize = 640;

/// What yamux may count before it gives up: all of the above, and those that are being taken down.
const MAX_STREAMS: usize = 1024;

/// How far the windows of all streams together may grow beyond their first 256 KiB each.
const EXTRA_WINDOW: usize = 4 << 20;

/// The longest piece in which bytes are sent: long enough for speed, short enough not to hold others up.
const SPLIT: usize = 128 << 10;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The manager's end.
    Host,
    /// The container's end.
    Init,
}

/// How long a stream is meant to stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// For one answer: waits for its turn.
    Short,
    /// For as long as something runs: refused when there are too many.
    Long,
    /// For as long as a connection lasts, opened by the container's end: refused when there are too many.
    Tunnel,
}

type OpenRequest = oneshot::Sender<Result<yamux::Stream>>;

/// Opens streams. Cheap to clone; when the last one is dropped, the link closes.
#[derive(Clone, Debug)]
pub struct Opener {
    requests: mpsc::Sender<OpenRequest>,
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    tunnels: Arc<Semaphore>,
    ending: Ending,
}

/// Ends a link, and tells when it has ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    asked: CancellationToken,
    done: CancellationToken,
}

impl Ending {
    /// Asks the driver to close the link.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    /// Waits until the link is closed.
    pub async fn done(&self) {
        self.done.cancelled().await;
    }

    /// Whether the link is closed.
    pub fn is_done(&self) -> bool {
        self.done.is_cancelled()
    }
}

/// Streams that the other end opened.
pub type Incoming = mpsc::Receiver<MuxStream>;

/// Multiplexes `io`. Nothing moves until the [`Driver`] runs.
pub fn multiplex<IO>(io: IO, side: Side) -> (Opener, Incoming, Driver<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (requests, open_requests) = mpsc::channel(MAX_LONG + MAX_SHORT);
    let (incoming, streams) = mpsc::channel(MAX_INCOMING);
    let ending = Ending::default();
    let opener = Opener {
        requests,
        short: Arc::new(Semaphore::new(MAX_SHORT)),
        long: Arc::new(Semaphore::new(MAX_LONG)),
        tunnels: Arc::new(Semaphore::new(MAX_INCOMING)),
        ending: ending.clone(),
    };
    (
        opener,
        streams,
        Driver::new(io, side, open_requests, incoming, ending),
    )
}

impl Opener {
    /// Opens a stream; the other end learns of it with its first bytes.
    ///
    /// # Errors
    /// `Closed` if the link is, `LimitReached` if too many long ones are open.
    pub async fn open(&self, operation: &'static str, term: Term) -> Result<MuxStream> {
        let permit = self.permit(operation, term).await?;
        let (answer, stream) = oneshot::channel();
        self.requests
            .send(answer)
            .await
            .map_err(|_closed| LinkError::closed(operation))?;
        let stream = stream.await.map_err(|_dropped| LinkError::closed(operation))??;
        Ok(MuxStream::new(stream, permit))
    }

    async fn permit(&self, operation: &'static str, term: Term) -> Result<OwnedSemaphorePermit> {
        let (places, limit) = match term {
            Term::Short => {
                let place = self.short.clone().acquire_owned().await;
                return place.map_err(|_closed| LinkError::closed(operation));
            }
            Term::Long => (&self.long, MAX_LONG),
            Term::Tunnel => (&self.tunnels, MAX_INCOMING),
        };
        places.clone().try_acquire_owned().map_err(|_full| {
            LinkError::new(
                ErrorKind::LimitReached,
                operation,
                "too many streams of this kind are open on this link",
            )
            .with_context("limit", limit.to_string())
        })
    }

    /// How this link ends.
    pub fn ending(&self) -> &Ending {
        &self.ending
    }
}

fn config() -> yamux::Config {
    let mut config = yamux::Config::default();
    // The order matters: each setter checks against the other's present value.
    config.set_max_num_streams(MAX_STREAMS);
    config
        .set_max_connection_receive_window(Some(MAX_STREAMS * yamux::DEFAULT_CREDIT as usize + EXTRA_WINDOW));
    config.set_split_send_size(SPLIT);
    config
}
