//! Bytes both ways between a program inside and the host that it was connected with.
//!
//! What the program sends first is held back until it is clear that it is for that host: a TLS handshake has to name it,
//! and at port 443 nothing but TLS passes. The host may speak first, as SSH servers do; that waits for nobody.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until};

use super::hello::{ALERT, HelloReader, Seen};
use super::meter::Meter;
use super::target::Host;

/// How long a connection whose one direction has ended may carry nothing.
const HALF_OPEN: Duration = Duration::from_secs(60);
/// The port at which only TLS passes.
const TLS_PORT: u16 = 443;
/// What a direction starts with, and what it gets once it fills that: an idle connection is cheap, a busy one fast.
const SMALL: usize = 8 * 1024;
const LARGE: usize = 64 * 1024;

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TunnelEnd {
    /// Both sides are through, or one broke off.
    Closed,
    /// Nothing moved for too long.
    Idle,
    /// The first bytes are not for this host.
    Mismatch,
    /// The session may move nothing more.
    Spent,
}

/// Where a tunnel leads.
pub(crate) struct Tunnel<'a> {
    pub(crate) server: TcpStream,
    pub(crate) host: &'a Host,
    pub(crate) port: u16,
    pub(crate) meter: &'a Meter,
    pub(crate) idle_timeout: Duration,
}

/// Why a direction stopped before its end.
enum Stop {
    Mismatch { tls: bool },
    Spent,
    Broken,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// What both directions tell the watch.
#[derive(Default)]
struct Progress {
    chunks: AtomicU64,
    half_open: AtomicBool,
}

impl Tunnel<'_> {
    /// Carries bytes until the tunnel ends. `early` is what the client sent already. Dropping the future cuts both sides.
    pub(crate) async fn run<I>(self, client: I, early: Bytes) -> TunnelEnd
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let Self {
            mut server,
            host,
            port,
            meter,
            idle_timeout,
        } = self;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = server.split();
        let progress = Progress::default();
        let both = async {
            let up = async {
                let first = first_bytes(&mut from_client, early, host, port).await?;
                pass(&first, &mut to_server, meter, &progress).await?;
                drop(first);
                pump(&mut from_client, &mut to_server, meter, &progress).await
            };
            let down = pump(&mut from_server, &mut to_client, meter, &progress);
            tokio::try_join!(up, down).map(drop)
        };
        // What loses is not wanted any more: either everything is through, or it is cut.
        let ended = tokio::select! {
            ended = both => ended,
            () = progress.idle(idle_timeout) => return TunnelEnd::Idle,
        };
        match ended {
            Ok(()) | Err(Stop::Broken) => TunnelEnd::Closed,
            Err(Stop::Spent) => TunnelEnd::Spent,
            Err(Stop::Mismatch { tls }) => {
                // A client that is gone needs no explanation.
                if tls && to_client.write_all(&ALERT).await.is_ok() {
                    drop(to_client.shutdown().await);
                }
                TunnelEnd::Mismatch
            }
        }
    }
}

/// Reads until it is clear that the bytes are for this host; gives them. Empty when the client ended before that.
async fn first_bytes(
    client: &mut (impl AsyncRead + Unpin),
    early: Bytes,
    host: &Host,
    port: u16,
) -> Result<BytesMut, Stop> {
    let mut reader = HelloReader::new();
    let mut gathered = BytesMut::from(early);
    let mut looked_at = 0;
    loop {
        if looked_at < gathered.len() {
            match reader.push(&gathered[looked_at..]) {
                Seen::More => looked_at = gathered.len(),
                Seen::Tls(name) if name == host.as_str() => return Ok(gathered),
                Seen::NotTls if port != TLS_PORT => return Ok(gathered),
                Seen::Tls(_) | Seen::BadTls => return Err(Stop::Mismatch { tls: true }),
                Seen::NotTls => return Err(Stop::Mismatch { tls: false }),
            }
        }
        gathered.reserve(SMALL);
        if client.read_buf(&mut gathered).await? == 0 {
            return Ok(BytesMut::new());
        }
    }
}

/// Copies until `from` ends, then says so to `to`.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    meter: &Meter,
    progress: &Progress,
) -> Result<(), Stop> {
    let mut buffer = vec![0; SMALL];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        pass(&buffer[..read], to, meter, progress).await?;
        if read == buffer.len() && read < LARGE {
            buffer.resize(LARGE, 0);
        }
    }
    progress.half_open.store(true, Ordering::Relaxed);
    to.shutdown().await?;
    Ok(())
}

async fn pass(
    bytes: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
    meter: &Meter,
    progress: &Progress,
) -> Result<(), Stop> {
    if let Some(until) = meter.count(bytes.len()).map_err(|_| Stop::Spent)? {
        sleep_until(until).await;
    }
    to.write_all(bytes).await?;
    // A stream that gathers what is written sends it when nothing more is about to come.
    to.flush().await?;
    progress.chunks.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

impl Progress {
    /// Returns when nothing has moved for `limit`, or for a shorter time when one direction has ended.
    async fn idle(&self, limit: Duration) {
        let step = limit.min(HALF_OPEN);
        let mut quiet = Duration::ZERO;
        let mut before = 0;
        while quiet < limit && !(self.half_open.load(Ordering::Relaxed) && quiet >= step) {
            sleep(step).await;
            let now = self.chunks.load(Ordering::Relaxed);
            quiet = if now == before {
                quiet + step
            } else {
                Duration::ZERO
            };
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// What comes of a tunnel at this port whose client says this and then waits.
    async fn end_at(port: u16, said: &[u8]) -> (TunnelEnd, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (inside, mut client) = tokio::io::duplex(1024);
        let (host, meter) = (Host::read("example.com").unwrap(), Meter::new(None, None));
        let tunnel = Tunnel {
            server,
            host: &host,
            port,
            meter: &meter,
            idle_timeout: Duration::from_millis(200),
        };
        client.write_all(said).await.unwrap();
        let end = tunnel.run(inside, Bytes::new()).await;
        let mut arrived = Vec::new();
        far.read_to_end(&mut arrived).await.unwrap();
        (end, arrived)
    }

    #[tokio::test]
    async fn only_tls_passes_at_port_443() {
        let said = b"GET / HTTP/1.1\r\nhost: other.example\r\n\r\n";
        assert_eq!(end_at(443, said).await, (TunnelEnd::Mismatch, Vec::new()));
        assert_eq!(
            end_at(22, b"SSH-2.0-x\r\n").await,
            (TunnelEnd::Idle, b"SSH-2.0-x\r\n".to_vec())
        );
    }

    #[tokio::test]
    async fn half_a_hello_does_not_pass() {
        assert_eq!(
            end_at(8443, &[0x16, 3, 1, 2, 0, 1, 0]).await,
            (TunnelEnd::Idle, Vec::new())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_tunnel_and_movement_does_not() {
        let progress = Progress::default();
        let limit = Duration::from_secs(900);
        let wait =
            async |seconds| tokio::time::timeout(Duration::from_secs(seconds), progress.idle(limit)).await;
        assert!(wait(899).await.is_err());
        assert!(wait(901).await.is_ok());
        let moving = async {
            for _ in 0..100 {
                sleep(Duration::from_secs(50)).await;
                progress.chunks.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = moving => {}
            () = progress.idle(limit) => panic!("it moved"),
        }
        progress.half_open.store(true, Ordering::Relaxed);
        assert!(wait(130).await.is_ok());
    }
}
