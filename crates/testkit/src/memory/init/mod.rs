//! A small `session-init` inside this process: it speaks the link's real protocol, so that whoever tests against the
//! in-memory runtime tests the real client, the real multiplexer and the real frames.

mod carrier;
mod doors;
mod pack;
mod requests;
mod transfer;
mod unpack;

use std::sync::Arc;

use session_link::Welcome;
use session_link::mux::{self, Side};
use session_link::wire::preface;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

pub(super) use carrier::dial;
pub(super) use doors::Doors;

use super::container::Container;

/// However a link ends, what depended on it learns it.
struct Ended {
    container: Arc<Container>,
    link: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.container.link_closed(self.link);
    }
}

/// Serves one link until either end closes it. Dropping it cuts the link.
pub(super) async fn serve<IO>(container: Arc<Container>, link: u64, mut io: IO)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let _ended = Ended {
        container: container.clone(),
        link,
    };
    if preface::send(&mut io, &container.hello()).await.is_err()
        || preface::receive::<_, Welcome>(&mut io).await.is_err()
    {
        return;
    }
    let (opener, mut incoming, driver) = mux::multiplex(io, Side::Init);
    let mut tasks = JoinSet::new();
    tasks.spawn(container.freezer().wrap(driver.run()));
    while let Some(stream) = incoming.recv().await {
        while tasks.try_join_next().is_some() {}
        let answer = requests::answer(container.clone(), link, opener.clone(), stream);
        tasks.spawn(container.freezer().wrap(answer));
    }
}
