//! The link of a session: listened for, dialled by the container, or opened through the runtime.
//!
//! The socket is tried first where the runtime can mount a directory of this host; the bridge is what works everywhere
//! else. Nothing above can tell which is in use.

use std::time::Duration;

use session_link::{Link, LinkListener, LinkOptions, Tunnels};
use tokio_util::task::AbortOnDropHandle;

use super::Driver;
use super::doors::Served;
use super::recover::engine_is_away;
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::Gateway;
use crate::id::SessionId;
use crate::link_error::from_link;
use crate::runtime::{BoxedByteStream, ContainerState};
use crate::session::Carrier;
use crate::state::{Operation, SessionState};
use std::sync::Arc;

/// How many connections of one session are served at once; more are closed as they come.
const MAX_TUNNELS: usize = 640;
/// How often a container that does not dial is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A link as others get it.
#[derive(Clone)]
pub(crate) struct Linked {
    pub(crate) link: Link,
    pub(crate) carrier: Carrier,
    /// What programs find around them; known once somebody asked for it.
    pub(crate) ambient: Option<Arc<Ambient>>,
    /// Whether this process answers all of the session's doors on it.
    pub(crate) all_doors: bool,
}

/// A link that is up. Dropping it closes the link and cuts its tunnels.
pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) carrier: Carrier,
    /// What this process answers on it.
    pub(super) served: Served,
    _tunnels: AbortOnDropHandle<()>,
}

/// Waits until the connection, if there is one, has closed.
pub(super) async fn closed(connection: &Option<Connection>) {
    match connection {
        Some(connection) => connection.link.closed().await,
        None => std::future::pending().await,
    }
}

impl Driver {
    /// The link, made anew if there is none.
    pub(super) async fn connect(&mut self) -> Result<(Link, Carrier)> {
        match &self.connection {
            Some(connection) if !connection.link.is_closed() => {
                return Ok((connection.link.clone(), connection.carrier));
            }
            Some(_) => self.drop_connection(),
            None => {}
        }
        let state = self.record().await?.info.state;
        self.connect_in(&state).await
    }

    /// The same, for whoever knows in which state the session is.
    pub(super) async fn connect_in(&mut self, state: &SessionState) -> Result<(Link, Carrier)> {
        if let Some(connection) = &self.connection
            && !connection.link.is_closed()
        {
            return Ok((connection.link.clone(), connection.carrier));
        }
        fail::fail_point!("driver.connect.before", |_| crate::fault::link(
            "reach the session"
        ));
        if !matches!(state, SessionState::Creating) {
            state.permits(Operation::Command)?;
        }
        let outcome = match self.listen()? {
            Some(listener) => self.dialled(&listener).await,
            None => self.bridge().await.map(|io| (io, Carrier::Bridge)),
        };
        match outcome {
            Ok((io, carrier)) => {
                let (link, tunnels) = self.greet(io).await?;
                self.expect_same_boot(&link).await?;
                Ok(self.serve(link, tunnels, carrier))
            }
            Err(error) => {
                // A container that is gone explains more than a link that could not be made.
                self.refresh().await?;
                Err(error)
            }
        }
    }

    /// A listener in the session's link directory; `None` where the runtime cannot mount it.
    pub(super) fn listen(&self) -> Result<Option<LinkListener>> {
        if !self.foundation.runtime.capability().host_mounts {
            return Ok(None);
        }
        let dir = self.foundation.state_dir.create_link_dir(&self.id)?;
        fail::fail_point!("driver.listen.before", |_| crate::fault::host(
            "listen for the session's link"
        ));
        let name = format!("{}-{:08x}", std::process::id(), rand::random::<u32>());
        LinkListener::bind(&dir, &name)
            .map(Some)
            .map_err(|error| from_link("listen for the session's link", error))
    }

    /// Waits for the container to dial; falls back to the bridge when it does not.
    pub(super) async fn dialled(&self, listener: &LinkListener) -> Result<(BoxedByteStream, Carrier)> {
        let patience = tokio::time::sleep(self.foundation.socket_patience);
        tokio::pin!(patience);
        loop {
            // `accept` is cancel safe: a connection that was not taken stays in the socket's queue.
            tokio::select! {
                accepted = listener.accept() => {
                    let io = accepted.map_err(|error| from_link("accept the session's link", error))?;
                    return Ok((Box::new(io), Carrier::Socket));
                }
                () = &mut patience => return Ok((self.bridge().await?, Carrier::Bridge)),
                () = tokio::time::sleep(LOOK_EVERY) => self.expect_running().await?,
            }
        }
    }

    async fn expect_running(&self) -> Result<()> {
        let status = match self.foundation.runtime.inspect(&self.container).await {
            // Nobody can say that it does not run, and it may dial yet.
            Err(error) if engine_is_away(&error) => return Ok(()),
            looked => looked?,
        };
        // One that somebody froze is not lost: it dials when it goes on.
        if !matches!(status.state, ContainerState::Exited | ContainerState::Absent) {
            return Ok(());
        }
        let said = self
            .foundation
            .runtime
            .diagnostics(&self.container, 2048)
            .await
            .unwrap_or_default();
        let mut error = Error::new(
            ErrorKind::ContainerLost,
            "reach the session",
            "its container does not run",
        )
        .with_context("container", &self.container);
        if let Some(code) = status.exit_code {
            error = error.with_context("exit_code", code);
        }
        if !said.trim().is_empty() {
            error = error.with_context("last_words", said.trim().escape_debug());
        }
        Err(error)
    }

    async fn bridge(&self) -> Result<BoxedByteStream> {
        fail::fail_point!("driver.bridge.before", |_| crate::fault::engine(
            "reach the session"
        ));
        self.foundation.runtime.bridge(&self.container).await
    }

    /// Makes a link out of a byte stream and serves its tunnels.
    pub(super) async fn establish(
        &mut self,
        io: BoxedByteStream,
        carrier: Carrier,
    ) -> Result<(Link, Carrier)> {
        let (link, tunnels) = self.greet(io).await?;
        Ok(self.serve(link, tunnels, carrier))
    }

    async fn greet(&self, io: BoxedByteStream) -> Result<(Link, Tunnels)> {
        let greeted = Link::establish(io, LinkOptions::default())
            .await
            .map_err(|error| from_link("establish the link", error).with_context("session", self.id))?;
        fail::fail_point!("driver.link.established", |_| crate::fault::link(
            "establish the link"
        ));
        Ok(greeted)
    }

    fn serve(&mut self, link: Link, tunnels: Tunnels, carrier: Carrier) -> (Link, Carrier) {
        let serving = serve_tunnels(tunnels, self.foundation.gateway.clone(), self.id);
        let tunnels = AbortOnDropHandle::new(tokio::spawn(serving));
        self.connection = Some(Connection {
            link: link.clone(),
            carrier,
            served: Served::Nothing,
            _tunnels: tunnels,
        });
        self.link_out.send_replace(Some(Linked {
            link: link.clone(),
            carrier,
            ambient: None,
            all_doors: false,
        }));
        tracing::debug!(session = %self.id, ?carrier, "the link is up");
        (link, carrier)
    }

    pub(super) fn drop_connection(&mut self) {
        self.link_out.send_replace(None);
        self.connection = None;
    }

    /// Lets go of the session without ending anything in it.
    pub(super) async fn disconnect(&mut self) {
        self.agent = None;
        self.interface = None;
        self.link_out.send_replace(None);
        if let Some(connection) = self.connection.take() {
            connection.link.close().await;
        }
    }
}

/// Owns every tunnel of one link: they end with it.
async fn serve_tunnels(mut tunnels: Tunnels, gateway: Arc<dyn Gateway>, session: SessionId) {
    let mut served = tokio::task::JoinSet::new();
    while let Some(tunnel) = tunnels.next().await {
        while served.try_join_next().is_some() {}
        if served.len() >= MAX_TUNNELS {
            tracing::warn!(%session, door = %tunnel.door.escape_debug(), "too many connections at once");
            continue;
        }
        served.spawn(gateway.serve(&session, &tunnel.door, Box::new(tunnel.io)));
    }
    // The link is gone; what its tunnels carried is gone with it.
    served.shutdown().await;
}
