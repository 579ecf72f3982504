//! Accounts, budgets, turns and activity, from end to end.

mod activity;
mod budgets;
mod charges;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use session_core::budget::Budget;
use session_core::id::SessionId;
use session_gateway::model::{Access, BaseUrl, CredentialSource, ModelProxy, ModelProxyConfig, Terms};
use testkit::ledger::MemoryLedger;
use tokio::sync::{Mutex, mpsc};

use crate::support::{Answer, Fixture, KEY, ONCE, Provider, TOKEN, credential, full, pieces};

/// A proxy for this one provider.
pub(crate) fn config(base: &BaseUrl) -> ModelProxyConfig {
    ModelProxyConfig {
        retry: ONCE,
        ..ModelProxyConfig::messages(base.clone(), CredentialSource::new(Some(credential(KEY))))
    }
}

/// A proxy with one session that has this budget.
pub(crate) async fn with(
    base: &BaseUrl,
    budget: Budget,
    change: impl FnOnce(&mut ModelProxyConfig),
) -> Fixture {
    let mut config = config(base);
    change(&mut config);
    let fixture = Fixture::with(config, None).await;
    agree(&fixture.proxy, fixture.session, budget, &fixture.ledger).await;
    fixture
}

/// Another session at the same proxy, on the same day.
pub(crate) async fn neighbour(of: &Fixture, budget: Budget) -> Fixture {
    let neighbour = Fixture {
        proxy: of.proxy.clone(),
        credential: of.credential.clone(),
        session: SessionId::new(),
        ledger: of.ledger.neighbour(),
        api: of.api.clone(),
    };
    agree(&neighbour.proxy, neighbour.session, budget, &neighbour.ledger).await;
    neighbour
}

/// Gives a session this budget from now on.
pub(crate) async fn agree(proxy: &ModelProxy, session: SessionId, budget: Budget, ledger: &MemoryLedger) {
    let access = Access {
        token: TOKEN.into(),
        account: None,
        terms: Terms {
            budget,
            ledger: Arc::new(ledger.clone()),
        },
    };
    proxy.register(session, access).await.unwrap();
}

/// What a scripted answer costs: five dollars a million, all of it input.
pub(crate) const ANSWER: &str =
    r#"{"type":"message","model":"claude-opus-5","usage":{"input_tokens":200000,"output_tokens":0}}"#;
/// One dollar.
pub(crate) const ANSWER_COSTS: u64 = 1_000_000;

/// The first event of a stream.
pub(crate) const START: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-opus-5\",\"usage\":",
    "{\"input_tokens\":200000,\"output_tokens\":1}}}\n\n"
);

/// An answer of known length.
pub(crate) fn document() -> Answer {
    Response::builder()
        .header("content-type", "application/json")
        .body(full(ANSWER))
        .unwrap()
}

/// A provider whose answers the test lets go by hand, one after another.
pub(crate) struct ByHand {
    pub(crate) provider: Provider,
    answers: Mutex<mpsc::Receiver<mpsc::Sender<std::io::Result<Bytes>>>>,
    /// Requests that the provider is at.
    pub(crate) at_once: Arc<AtomicUsize>,
}

impl ByHand {
    pub(crate) async fn start() -> Self {
        let (requests, answers) = mpsc::channel(1024);
        let at_once = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&at_once);
        let provider = Provider::start(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let requests = requests.clone();
            async move {
                let (sender, body) = pieces();
                requests.send(sender).await.unwrap();
                Response::builder()
                    .header("content-type", "text/event-stream")
                    .body(body)
                    .unwrap()
            }
        })
        .await;
        Self {
            provider,
            answers: Mutex::new(answers),
            at_once,
        }
    }

    /// The next request that came in.
    pub(crate) async fn next(&self) -> Stream {
        Stream(self.answers.lock().await.recv().await.unwrap())
    }

    /// How many requests have come in.
    pub(crate) fn seen(&self) -> usize {
        self.at_once.load(Ordering::SeqCst)
    }
}

/// An answer under way.
pub(crate) struct Stream(mpsc::Sender<std::io::Result<Bytes>>);

impl Stream {
    pub(crate) async fn say(&self, text: impl Into<Bytes>) {
        self.0.send(Ok(text.into())).await.unwrap();
    }

    /// Until nobody reads it any more.
    pub(crate) async fn given_up(self) {
        while self.0.send(Ok(Bytes::from(": nothing\n\n"))).await.is_ok() {}
    }

    pub(crate) async fn breaks(self) {
        self.0
            .send(Err(std::io::Error::other("it breaks off")))
            .await
            .unwrap();
    }
}

/// Reads one piece.
pub(crate) async fn piece(body: &mut Incoming) -> Option<Bytes> {
    use http_body_util::BodyExt;
    body.frame()
        .await
        .map(|frame| frame.unwrap().into_data().unwrap())
}

/// Waits until it is so, and not for ever.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    let looking = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looking)
        .await
        .expect("it never came to that");
}
