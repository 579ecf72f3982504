//! `subscriptions/listen`: since 2026-07-28 a client hears of changes on the stream of one long request.

use std::collections::HashMap;
use std::sync::Arc;

use rmcp::service::{SubscriptionContext, SubscriptionSendError, SubscriptionSink};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::relay::{News, Relay};
use super::subscriptions;

/// Serves one such request until it is taken back, the client sends nothing more, or the endpoint is closed.
pub(super) async fn serve(core: &Arc<Core>, subscription: SubscriptionContext, unheard: &CancellationToken) {
    let mut listener = Relay::listen(core);
    let mut subscribed = HashMap::new();
    for uri in subscription.accepted().resource_subscriptions.iter().flatten() {
        match subscriptions::subscribe(core, uri).await {
            Ok(server) => {
                if subscribed.insert(uri.clone(), server).is_some() {
                    subscriptions::unsubscribe(core, server, uri).await;
                }
            }
            Err(error) => tracing::debug!(code = error.code.0, "a resource cannot be listened to"),
        }
    }
    loop {
        // All arms only wait.
        let news = tokio::select! {
            news = listener.news() => news,
            () = subscription.cancelled() => None,
            () = core.stop.cancelled() => None,
            () = unheard.cancelled() => None,
        };
        let Some(news) = news else { break };
        // A client that does not read holds up nothing but its own news.
        let told = tokio::select! {
            told = pass_on(subscription.sink(), &subscribed, news) => told,
            () = subscription.cancelled() => break,
            () = core.stop.cancelled() => break,
        };
        if told.is_err() {
            break;
        }
    }
    for (uri, server) in subscribed {
        subscriptions::unsubscribe(core, server, &uri).await;
    }
}

async fn pass_on(
    sink: &SubscriptionSink,
    subscribed: &HashMap<String, usize>,
    news: News,
) -> Result<(), SubscriptionSendError> {
    let accepted = sink.accepted();
    if news.tools && accepted.tools_list_changed == Some(true) {
        sink.notify_tool_list_changed().await?;
    }
    if news.prompts && accepted.prompts_list_changed == Some(true) {
        sink.notify_prompt_list_changed().await?;
    }
    if news.resources && accepted.resources_list_changed == Some(true) {
        sink.notify_resource_list_changed().await?;
    }
    for (server, uri) in news.updated {
        if subscribed.get(uri.as_ref()) == Some(&server) {
            sink.notify_resource_updated(uri.to_string()).await?;
        }
    }
    Ok(())
}
