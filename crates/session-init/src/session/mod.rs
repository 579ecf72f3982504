//! One link, from the greeting to its end, and the requests that come on it.

pub(crate) mod reply;
mod request;
mod serve;

use std::{rc::Rc, time::Duration};

use session_link::{
    Hello, PROTOCOL_VERSION, Result, Welcome,
    mux::{self, Opener, Side},
    wire::preface,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::timeout,
};

use crate::{init::Init, process::LinkId};

/// How long a host may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// What requests of one link have in common.
#[derive(Clone, Debug)]
pub(crate) struct LinkHandle {
    pub(crate) id: LinkId,
    pub(crate) opener: Opener,
}

/// Greets whoever is at the other end of `io` and serves it until the link ends.
///
/// # Errors
/// What went wrong with the greeting.
pub(crate) async fn run<IO>(init: Rc<Init>, mut io: IO) -> Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        init_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: init.boot_id.clone(),
        session: init.session.clone(),
    };
    let greet = async {
        preface::send(&mut io, &hello).await?;
        preface::receive::<_, Welcome>(&mut io).await
    };
    match timeout(GREETING, greet).await {
        Ok(welcome) => welcome?,
        Err(_elapsed) => return Ok(()),
    };
    let (opener, mut incoming, driver) = mux::multiplex(io, Side::Init);
    let link = LinkHandle {
        id: init.next_link(),
        opener,
    };
    // Requests end with their link: what they started does so only if it was to.
    let mut tasks = JoinSet::new();
    tasks.spawn_local(driver.run());
    init.registry.prepare();
    // The driver hands out no more streams once the link has ended.
    while let Some(stream) = incoming.recv().await {
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(serve::stream(init.clone(), link.clone(), stream));
    }
    init.doors.link_closed(link.id);
    init.registry.link_closed(link.id);
    Ok(())
}
