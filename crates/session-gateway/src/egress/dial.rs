//! From a name that was allowed to a connection: resolved once, every address judged, the judged address dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::address::AddressJudge;
use super::config::EgressConfig;
use super::denial::Failure;
use super::resolver::Resolve;
use super::target::Host;

/// How long one address may take before the next is tried beside it (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_TRIED: usize = 8;

/// Makes connections.
pub(crate) struct Dialer {
    resolver: Arc<dyn Resolve>,
    judge: AddressJudge,
    resolve_timeout: Duration,
    connect_timeout: Duration,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialFault {
    /// Every address that the name leads to is closed.
    Forbidden,
    /// It did not work.
    Failed(Failure),
}

impl Dialer {
    pub(crate) fn new(config: &EgressConfig) -> Self {
        Self::judging(
            Arc::clone(&config.resolver),
            AddressJudge::new(config.private_networks.clone()),
            config.limits.resolve_timeout,
            config.limits.connect_timeout,
        )
    }

    /// A dialer for another purpose than a session's own connections, with its own judge.
    pub(crate) fn judging(
        resolver: Arc<dyn Resolve>,
        judge: AddressJudge,
        resolve_timeout: Duration,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            resolver,
            judge,
            resolve_timeout,
            connect_timeout,
        }
    }

    /// A connection with the host.
    pub(crate) async fn dial(&self, host: &Host, port: u16) -> Result<TcpStream, DialFault> {
        self.dial_any(self.addresses(host).await?, port).await
    }

    /// A connection with one of these addresses, each judged.
    pub(crate) async fn dial_addresses(
        &self,
        addresses: &[IpAddr],
        port: u16,
    ) -> Result<TcpStream, DialFault> {
        self.dial_any(self.judged(addresses.to_vec())?, port).await
    }

    async fn dial_any(&self, addresses: Vec<IpAddr>, port: u16) -> Result<TcpStream, DialFault> {
        fail::fail_point!("gateway.egress.dial", |_| Err(DialFault::Failed(
            Failure::ConnectTimedOut
        )));
        let stream = match timeout(self.connect_timeout, race(&addresses, port)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(DialFault::Failed(Failure::Unreachable(cause(&error)))),
            Err(_elapsed) => return Err(DialFault::Failed(Failure::ConnectTimedOut)),
        };
        if self.is_ourselves(&stream) {
            return Err(DialFault::Forbidden);
        }
        // A proxy that waits to fill packets would slow down every handshake; without it, it is only slower.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }

    /// What the name leads to and may be dialled.
    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, DialFault> {
        let answer = match timeout(self.resolve_timeout, self.resolver.resolve(host.as_str())).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::debug!(host = host.as_str(), %error, "a name could not be resolved");
                return Err(DialFault::Failed(Failure::Unresolvable));
            }
            Err(_elapsed) => return Err(DialFault::Failed(Failure::ResolveTimedOut)),
        };
        if answer.is_empty() {
            return Err(DialFault::Failed(Failure::Unresolvable));
        }
        self.judged(answer)
    }

    fn judged(&self, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, DialFault> {
        let judged = addresses
            .into_iter()
            .filter(|address| self.judge.permits(*address));
        // A mapped address is the IPv4 address that was judged.
        let mut addresses: Vec<IpAddr> = judged.map(|address| address.to_canonical()).collect();
        if addresses.is_empty() {
            return Err(DialFault::Forbidden);
        }
        alternate(&mut addresses);
        addresses.truncate(MAX_TRIED);
        Ok(addresses)
    }

    /// A public address of this machine is public, and what listens behind it may yet take this machine for trusted.
    fn is_ourselves(&self, stream: &TcpStream) -> bool {
        match (stream.local_addr(), stream.peer_addr()) {
            (Ok(local), Ok(peer)) => local.ip() == peer.ip() && !self.judge.is_opened(peer.ip()),
            // It is gone already; the next read says so.
            _ => false,
        }
    }
}

/// Takes turns between the families, so that a machine on which one of them leads nowhere waits once and not for each
/// address of it.
fn alternate(addresses: &mut Vec<IpAddr>) {
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .drain(..)
        .enumerate()
        .partition(|(_, address)| address.is_ipv6());
    // The order within a family is the name server's.
    let rank = |family: Vec<(usize, IpAddr)>| family.into_iter().enumerate();
    let mut ranked: Vec<_> = rank(first).chain(rank(second)).collect();
    ranked.sort_by_key(|(rank, (given, _))| (*rank, *given));
    addresses.extend(ranked.into_iter().map(|(_, (_, address))| address));
}

/// The first connection that comes about: each address gets a head start before the next, and none waits for one that
/// failed.
async fn race(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut under_way = FuturesUnordered::new();
    let mut failed = None;
    loop {
        if let Some(address) = waiting.next() {
            under_way.push(TcpStream::connect(SocketAddr::new(*address, port)));
        } else if under_way.is_empty() {
            return Err(failed.unwrap_or_else(|| io::ErrorKind::HostUnreachable.into()));
        }
        tokio::select! {
            // An attempt that is not ready stays in the set.
            Some(ended) = under_way.next() => match ended {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = Some(error),
            },
            // Nothing is lost with a sleep.
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

/// What the session is told. The words are ours: an error of the system may name addresses.
fn cause(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the host refused the connection.",
        io::ErrorKind::TimedOut => "the host did not take the connection in time.",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "there is no route to the host."
        }
        io::ErrorKind::ConnectionReset => "the host reset the connection.",
        _ => "the connection with the host failed.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    #[test]
    fn families_take_turns() {
        let parse =
            |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let mut addresses = parse(&["2600::1", "2600::2", "8.8.8.8", "2600::3", "8.8.4.4"]);
        alternate(&mut addresses);
        assert_eq!(
            addresses,
            parse(&["2600::1", "8.8.8.8", "2600::2", "8.8.4.4", "2600::3"])
        );
    }

    #[tokio::test]
    async fn an_address_that_fails_does_not_hold_up_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let refusing = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let stream = race(&[refusing, IpAddr::V4(Ipv4Addr::LOCALHOST)], port)
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
        let error = race(&[refusing], port).await.unwrap_err();
        assert_eq!(cause(&error), "the host refused the connection.");
    }
}
