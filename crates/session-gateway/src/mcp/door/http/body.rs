//! Reads a body within a bound, a time, and what room the session has.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted at once.
const UNIT: usize = 16 << 10;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    TooLong,
    TooSlow,
    /// Too much of other requests is here already.
    NoRoom,
    Broken,
}

/// What all requests of a session may take together, in bytes. So many connections with long bodies would otherwise be
/// gigabytes.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// A part of the room. Given back when it is dropped.
#[derive(Debug, Clone, Default)]
pub(in crate::mcp::door) struct Taken {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Taken {
    /// What a request takes that came over HTTP.
    pub(in crate::mcp::door) fn by(context: &RequestContext<RoleServer>) -> Self {
        let parts = context.extensions.get::<Parts>();
        let taken = parts.and_then(|parts| parts.extensions.get::<Self>());
        taken.cloned().unwrap_or_default()
    }
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.div_ceil(UNIT))))
    }

    fn take(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Unread> {
        let needed = bytes.div_ceil(UNIT);
        let have = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(needed.saturating_sub(have)).map_err(|_| Unread::NoRoom)?;
        if more == 0 {
            return Ok(());
        }
        let taken = self
            .0
            .clone()
            .try_acquire_many_owned(more)
            .map_err(|_| Unread::NoRoom)?;
        match held {
            Some(held) => held.merge(taken),
            None => *held = Some(taken),
        }
        Ok(())
    }
}

/// The whole body, at most `limit` bytes, and the room that it takes as long as anything of it is needed.
pub(super) async fn read(
    mut body: Incoming,
    limit: usize,
    patience: Duration,
    room: &Room,
) -> Result<(Bytes, Taken), Unread> {
    // What is announced to be too long is not read at all.
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLong);
    }
    let reading = async {
        let mut read = BytesMut::new();
        let mut taken = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
                continue;
            };
            if data.len() > limit - read.len() {
                return Err(Unread::TooLong);
            }
            room.take(&mut taken, read.len() + data.len())?;
            read.extend_from_slice(&data);
        }
        let taken = Taken {
            _permit: taken.map(Arc::new),
        };
        Ok((read.freeze(), taken))
    };
    tokio::time::timeout(patience, reading)
        .await
        .unwrap_or(Err(Unread::TooSlow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_counted_and_given_back() {
        let room = Room::new(4 * UNIT);
        let (mut first, mut second) = (None, None);
        assert_eq!(room.take(&mut first, 1), Ok(()));
        assert_eq!(room.take(&mut first, UNIT), Ok(()), "the same room");
        assert_eq!(room.take(&mut first, 3 * UNIT), Ok(()));
        assert_eq!(room.take(&mut second, 2 * UNIT), Err(Unread::NoRoom));
        drop(first);
        assert_eq!(room.take(&mut second, 4 * UNIT), Ok(()));
    }
}
