//! Reads a body within a bound and a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    TooLong,
    TooSlow,
    Broken,
}

/// The whole body, at most `limit` bytes.
pub(super) async fn read<B>(body: B, limit: usize, patience: Duration) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    // What is announced to be too long is not read at all.
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLong);
    }
    let reading = async {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
                continue;
            };
            if data.len() > limit - read.len() {
                return Err(Unread::TooLong);
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    };
    tokio::time::timeout(patience, reading)
        .await
        .unwrap_or(Err(Unread::TooSlow))
}
