//! Whoever waits for the answer to one request, and hears how far it is.
#![expect(
    deprecated,
    reason = "logging is on its way out of the protocol, and servers use it"
)]

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    ClientCapabilities, ClientResult, ErrorData, LoggingMessageNotificationParam, ProgressNotificationParam,
    ProgressToken, ProtocolVersion, ServerRequest,
};
use rmcp::service::{Peer, PeerRequestOptions, RequestContext, ServiceError};
use tokio_util::sync::CancellationToken;

/// How much progress is made by saying that a silent server still works.
const STEP: f64 = 1e-6;

/// Cancelled when the connection on which a request came is gone for good. Travels beside requests over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Abandoned(pub(super) CancellationToken);

/// See the module.
pub(super) struct Audience {
    peer: Peer<RoleServer>,
    token: Option<ProgressToken>,
    taken_back: CancellationToken,
    abandoned: Option<Abandoned>,
    /// What was said last; it has to grow.
    said: Option<f64>,
    total: Option<f64>,
}

impl Audience {
    pub(super) fn new(context: &RequestContext<RoleServer>) -> Self {
        let parts = context.extensions.get::<hyper::http::request::Parts>();
        Self {
            peer: context.peer.clone(),
            token: context.meta.get_progress_token(),
            taken_back: context.ct.clone(),
            abandoned: parts
                .and_then(|parts| parts.extensions.get::<Abandoned>())
                .cloned(),
            said: None,
            total: None,
        }
    }

    /// Waits until nobody waits for the answer.
    pub(super) async fn gone(&self) {
        let abandoned = async {
            match &self.abandoned {
                Some(abandoned) => abandoned.0.cancelled().await,
                None => std::future::pending().await,
            }
        };
        // Both arms only wait.
        tokio::select! {
            () = self.taken_back.cancelled() => {}
            () = abandoned => {}
        }
    }

    /// Passes on what a server says, under the token of this very request.
    pub(super) async fn progress(&mut self, mut progress: ProgressNotificationParam) {
        let Some(token) = self.token.clone() else { return };
        // The server does not know what was said in its name.
        if let Some(said) = self.said.filter(|said| progress.progress <= *said) {
            progress.progress = said + STEP;
        }
        self.total = progress.total;
        progress.progress_token = token;
        self.say(progress).await;
    }

    /// Says that a silent server still works, so that no clock of the client's runs out.
    pub(super) async fn heartbeat(&mut self) {
        let Some(token) = self.token.clone() else { return };
        let next = self.said.map_or(0.0, |said| said + STEP);
        let mut progress = ProgressNotificationParam::new(token, next);
        progress.total = self.total;
        progress.message = Some("still running".to_owned());
        self.say(progress).await;
    }

    async fn say(&mut self, progress: ProgressNotificationParam) {
        self.said = Some(progress.progress);
        // All arms only wait: a client that does not read must not keep us from noticing that it is gone.
        tokio::select! {
            told = self.peer.notify_progress(progress) => {
                if told.is_err() {
                    tracing::debug!("the client is gone; progress is not told");
                }
            }
            () = self.gone() => {}
        }
    }

    /// Passes on what a server logs.
    pub(super) async fn log(&self, message: LoggingMessageNotificationParam) {
        // As above.
        tokio::select! {
            _ = self.peer.notify_logging_message(message) => {}
            () = self.gone() => {}
        }
    }

    /// Asks the agent what a server wants to know, on the stream of this request. `over` is cancelled when the server
    /// does not wait any more.
    pub(super) fn ask(
        &self,
        request: ServerRequest,
        over: CancellationToken,
    ) -> impl Future<Output = Result<ClientResult, ErrorData>> + Send + 'static {
        let peer = self.peer.clone();
        async move {
            let options = PeerRequestOptions::no_options();
            let mut asked = peer
                .send_cancellable_request(request, options)
                .await
                .map_err(reason)?;
            // Both arms only wait; a question that nobody waits for is taken back.
            tokio::select! {
                answered = &mut asked.rx => match answered {
                    Ok(answered) => answered.map_err(reason),
                    Err(_) => Err(reason(ServiceError::TransportClosed)),
                },
                () = over.cancelled() => {
                    let told = asked.cancel(Some("the server does not wait for it any more".to_owned()));
                    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
                    Err(ErrorData::internal_error("the request is over", None))
                }
            }
        }
    }
}

fn reason(error: ServiceError) -> ErrorData {
    match error {
        ServiceError::McpError(error) => error,
        _ => ErrorData::internal_error("the client is gone, or gave no answer", None),
    }
}

/// Whether the request is of a revision without handshakes and requests to the client.
pub(super) fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

/// What the agent can be asked.
pub(super) fn abilities(context: &RequestContext<RoleServer>) -> ClientCapabilities {
    context.client_capabilities().unwrap_or_default()
}
