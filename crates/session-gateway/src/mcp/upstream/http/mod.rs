//! Servers elsewhere, over streamable HTTP.
//!
//! The protocol library keeps the session and its streams; every request that it makes goes through [`HttpLink`]: to the
//! declared endpoint and no other, with the definition's headers as they are at that moment, and with bounds on what comes
//! back.

mod answer;
mod events;
mod gate;
mod headers;
mod link;
mod place;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::Uri;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;

pub(in crate::mcp) use self::gate::{Gate, Pool, judge_error};
pub(super) use self::headers::Headers;
pub(super) use self::link::{HttpFault, HttpLink};
use super::ending::Ending;
use super::life::{Carrier, Reason};
use crate::mcp::call::FailureCause;

/// Requests of one connection that are under way. Whoever calls has bounds of its own.
const MAX_POSTS: usize = 256;
/// How often a stream that broke is opened again.
const MAX_REOPENED: usize = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The address of an endpoint, as one that may be reached.
pub(in crate::mcp) fn endpoint(url: &str, gate: &Gate) -> Result<Uri, Reason> {
    let uri: Uri = url
        .parse()
        .map_err(|_| (FailureCause::Forbidden, "its address is none".to_owned()))?;
    gate.check(&uri)?;
    Ok(uri)
}

/// The transport to an endpoint. Nothing is dialled yet.
pub(super) fn transport(link: HttpLink, max_message: usize) -> StreamableHttpClientTransport<HttpLink> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(link.uri().to_string())
        .max_concurrent_requests(MAX_POSTS)
        .max_sse_event_size(max_message)
        // A lost session is for the supervisor to know: what it held is lost with it.
        .reinit_on_expired_session(false);
    let mut pauses = ExponentialBackoff::default();
    pauses.max_times = Some(MAX_REOPENED);
    pauses.base_duration = FIRST_PAUSE;
    pauses.max_delay = Some(LONGEST_PAUSE);
    config.retry_config = Arc::new(pauses);
    StreamableHttpClientTransport::with_client(link, config)
}

/// There is nothing to own: the session at the server is ended by the transport.
pub(super) struct HttpCarrier {
    pub(super) ending: Ending,
}

#[async_trait]
impl Carrier for HttpCarrier {
    async fn ended(&mut self) -> Reason {
        self.ending.gone().await;
        (FailureCause::Ended, "it closed the connection".to_owned())
    }

    async fn close(&mut self, _: Duration) {}

    async fn kill(&mut self) {}
}
