//! Archives in and out, and patches, as streams: neither side holds more of one than a few pieces.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_api::{headers, paths};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use session_core::api::{ArchiveStream, ByteStream};
use session_core::error::{Error, Result};
use session_core::id::SessionId;
use session_core::session::CopyReport;

use crate::answer;
use crate::transport::{BodyError, Call, Patience, Transport};

/// How long what comes out may pause. The server packs a directory of any size without one.
const STALL: Duration = Duration::from_secs(300);

/// Sends an archive. When its stream fails the upload is aborted, so that the server sees a body that broke off and
/// never its end; the error is the stream's own then.
pub(crate) async fn copy_in(
    transport: &Transport,
    session: &SessionId,
    dest: &str,
    archive: ArchiveStream,
) -> Result<CopyReport> {
    let operation = "copy files into the session";
    let call = Call::new(operation, Method::PUT, paths::files(session, dest))
        .header(CONTENT_TYPE, HeaderValue::from_static(headers::TAR))
        .patience(Patience::Endless);
    let failure = Arc::new(Mutex::new(None));
    let sent = transport.upload(call, watched(archive, failure.clone())).await;
    // Even when the server was quicker to answer than the stream to fail: what it got was not the whole.
    if let Some(error) = take(&failure) {
        return Err(error);
    }
    answer::json(transport.asked(operation), sent?).await
}

/// The archive's bytes; its failure is kept, and aborts the body.
fn watched(
    archive: ArchiveStream,
    failure: Arc<Mutex<Option<Error>>>,
) -> impl futures::Stream<Item = Result<Bytes, BodyError>> + Send + 'static {
    archive.map(move |piece| {
        piece.map_err(|error| {
            let told: BodyError = error.to_string().into();
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            told
        })
    })
}

fn take(failure: &Mutex<Option<Error>>) -> Option<Error> {
    failure.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Receives an archive.
pub(crate) async fn copy_out(
    transport: Arc<Transport>,
    session: &SessionId,
    path: &str,
) -> Result<ArchiveStream> {
    let target = paths::files(session, path);
    download(transport, "copy files out of the session", target, headers::TAR).await
}

/// Receives bytes of a type. What the caller does not read waits at the server.
pub(crate) async fn download(
    transport: Arc<Transport>,
    operation: &'static str,
    target: String,
    media_type: &'static str,
) -> Result<ByteStream> {
    let call = Call::get(operation, target)
        .header(ACCEPT, HeaderValue::from_static(media_type))
        .patience(Patience::Long);
    let response = transport.send(call).await?;
    answer::expect_type(transport.asked(operation), &response, media_type)?;
    let bytes = stream::unfold(Some((response.into_body(), transport)), move |state| async move {
        let (mut body, transport) = state?;
        match next(&mut body).await {
            Ok(Some(piece)) => Some((Ok(piece), Some((body, transport)))),
            Ok(None) => None,
            Err(source) => Some((Err(transport.asked(operation).broken(source)), None)),
        }
    });
    Ok(bytes.fuse().boxed())
}

/// The next piece; `None` at the end that the server meant.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    loop {
        let Some(frame) = tokio::time::timeout(STALL, body.frame()).await? else {
            return Ok(None);
        };
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
}
