//! `subscriptions/listen`: since 2026-07-28 a client hears of changes on the stream of one long request.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use rmcp::model::ErrorData;
use rmcp::service::{SubscriptionContext, SubscriptionSendError, SubscriptionSink};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::relay::{News, Relay};
use super::subscriptions;

/// Servers are told of so many resources at once.
const AT_ONCE: usize = 4;

type Subscribed = (String, Result<usize, ErrorData>);

/// Serves one such request until it is taken back, the client sends nothing more, or the endpoint is closed.
pub(super) async fn serve(core: &Arc<Core>, subscription: SubscriptionContext, unheard: &CancellationToken) {
    let mut listener = Relay::listen(core);
    let mut subscribing = subscribe(core, &subscription);
    let mut subscribed = HashMap::new();
    loop {
        // All arms only wait; a resource that is being subscribed to is so in the next round.
        let news = tokio::select! {
            news = listener.news() => news,
            Some(one) = subscribing.next() => {
                keep(core, &mut subscribed, one).await;
                continue;
            }
            () = subscription.cancelled() => None,
            () = unheard.cancelled() => None,
            () = core.stop.cancelled() => return,
        };
        let Some(news) = news else { break };
        // A client that does not read holds up nothing but its own news.
        let told = tokio::select! {
            told = pass_on(subscription.sink(), &subscribed, news) => told,
            () = subscription.cancelled() => break,
            () = core.stop.cancelled() => return,
        };
        if told.is_err() {
            break;
        }
    }
    // Nobody waits for it.
    let core = core.clone();
    core.tasks.clone().spawn(async move {
        while let Some(one) = subscribing.next().await {
            keep(&core, &mut subscribed, one).await;
        }
        for (uri, server) in subscribed {
            subscriptions::unsubscribe(&core, server, &uri).await;
        }
    });
}

fn subscribe(core: &Arc<Core>, subscription: &SubscriptionContext) -> BoxStream<'static, Subscribed> {
    let wanted = subscription.accepted().resource_subscriptions.clone();
    let core = core.clone();
    stream::iter(wanted.unwrap_or_default())
        .map(move |uri| {
            let core = core.clone();
            async move {
                let subscribed = subscriptions::subscribe(&core, &uri).await;
                (uri, subscribed)
            }
        })
        .buffer_unordered(AT_ONCE)
        .boxed()
}

async fn keep(core: &Arc<Core>, subscribed: &mut HashMap<String, usize>, (uri, server): Subscribed) {
    match server {
        Ok(server) => {
            // The client may have named it twice.
            if subscribed.insert(uri.clone(), server).is_some() {
                subscriptions::unsubscribe(core, server, &uri).await;
            }
        }
        Err(error) => tracing::debug!(code = error.code.0, "a resource cannot be listened to"),
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
