//! Bodies of answers, bounded in bytes and in silence.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use session_core::error::Result;

use crate::failure::Asked;

/// The longest problem.
pub(crate) const MAX_PROBLEM: usize = 1 << 20;
/// The longest answer of other kinds: a page of 10,000 events with what tools said, or a patch.
pub(crate) const MAX_ANSWER: usize = 256 << 20;
/// How long an answer that has begun may pause.
const STALL: Duration = Duration::from_secs(30);

/// The whole body, of at most `limit` bytes.
pub(crate) async fn read(asked: Asked<'_>, response: Response<Incoming>, limit: usize) -> Result<Bytes> {
    let mut body = response.into_body();
    // What is announced as too long is not even begun.
    if body.size_hint().lower() > limit as u64 {
        return Err(asked.too_long(limit));
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(STALL, body.frame()).await;
        let data = match frame.map_err(|_stalled| asked.late())? {
            None => break,
            Some(frame) => frame.map_err(|source| asked.broken(source))?.into_data(),
        };
        let Ok(data) = data else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(asked.too_long(limit));
        }
        // Most answers are one piece, which need not be copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// A body of JSON.
pub(crate) async fn json<T: DeserializeOwned>(asked: Asked<'_>, response: Response<Incoming>) -> Result<T> {
    expect_type(asked, &response, http_api::headers::JSON)?;
    let body = read(asked, response, MAX_ANSWER).await?;
    serde_json::from_slice(&body).map_err(|source| asked.strange("JSON of another form").with_source(source))
}

/// Reads an empty body to its end, so that its connection can be used again.
pub(crate) async fn nothing(asked: Asked<'_>, response: Response<Incoming>) -> Result<()> {
    read(asked, response, MAX_PROBLEM).await.map(drop)
}

/// Refuses a body of another type.
pub(crate) fn expect_type(asked: Asked<'_>, response: &Response<Incoming>, expected: &str) -> Result<()> {
    let found = response.headers().get(CONTENT_TYPE);
    let essence = found
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case(expected) => Ok(()),
        Some(other) => Err(asked.strange(other.escape_debug())),
        None => Err(asked.strange("a body without a type")),
    }
}
