//! The server: one task owns the listener and all connections, and ends them all when it ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::lanes::{Lanes, Selector};
use super::service::Service;
use super::{ApiRequest, RequestKind, Script, Surface};

/// More than a bench with many sessions opens; further connections wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;

/// How long to leave a listener alone that cannot accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A scripted Messages API on a loopback port of its own.
///
/// [`shutdown`](Self::shutdown) ends it in order; dropping it ends it at once, hanging answers included.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    service: Arc<Service>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl ModelServer {
    /// Listens on 127.0.0.1, on a port the system chooses, and answers all requests that have no script of their own with
    /// this one.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(script: Script) -> io::Result<Self> {
        Self::start_as(Surface::Messages, script).await
    }

    /// The same with a cloud's API around it.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start_as(surface: Surface, script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let service = Arc::new(Service::new(Lanes::new(script), surface));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, Arc::clone(&service), stopped));
        Ok(Self {
            address,
            service,
            stop: Some(stop),
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to give an agent as `ANTHROPIC_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces what is left of the default script.
    pub fn set_script(&self, script: Script) {
        self.service.lanes.set(Selector::Default, script);
    }

    /// Answers requests that carry this credential with a script of their own.
    pub fn script_for_key(&self, key: impl Into<String>, script: Script) {
        self.service.lanes.set(Selector::Key(key.into()), script);
    }

    /// Answers conversations whose first prompt contains this text with a script of their own. Later prompts of the same
    /// conversation stay with it. Of several that match, the one that was added last is taken.
    pub fn script_for_prompt(&self, marker: impl Into<String>, script: Script) {
        self.service.lanes.set(Selector::Prompt(marker.into()), script);
    }

    /// How many answers the scripts still owe, endless steps left out. Zero when everything that was planned was asked for.
    pub fn unused_steps(&self) -> u64 {
        self.service.lanes.remaining()
    }

    /// The newest requests, oldest first: at most 4096, with 64 MiB of bodies.
    pub fn requests(&self) -> Vec<ApiRequest> {
        self.service.recorder.requests()
    }

    /// Those of [`requests`](Self::requests) that belong to a conversation.
    pub fn conversation(&self) -> Vec<ApiRequest> {
        self.requests()
            .into_iter()
            .filter(|request| request.kind == RequestKind::Conversation)
            .collect()
    }

    /// How many requests were recorded and have been dropped since, to stay within bounds.
    pub fn dropped_requests(&self) -> u64 {
        self.service.recorder.dropped()
    }

    /// Forgets the recorded requests.
    pub fn clear_requests(&self) {
        self.service.recorder.clear();
    }

    /// How many requests of conversations have ever arrived.
    pub fn conversation_count(&self) -> u64 {
        self.service.recorder.conversation_count()
    }

    /// Waits until that many requests of conversations have arrived since the start. Cancel-safe.
    pub async fn wait_for_conversation(&self, count: u64) {
        self.service.recorder.wait_for_conversation(count).await;
    }

    /// Stops listening and ends all connections, answers that hang included.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only when the task has ended already.
            let _sent = stop.send(());
        }
        // An error would be a panic of the task, which has been reported by then.
        let _ended = (&mut self.task).await;
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        // The task owns the listener and the set of connections: aborting it drops both.
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, service: Arc<Service>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Cancel-safe: the receiver is polled through a reference and keeps its state.
            _ = &mut stopped => break,
            // Cancel-safe: reaping is all it does, and what is reaped is not looked at.
            Some(_) = connections.join_next() => {}
            // Cancel-safe: `accept` loses no connection when it is dropped.
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&service)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, service: Arc<Service>) {
    // Small events must not wait for an acknowledgement; a failure only makes them slower.
    let _set = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { service.answer(request).await }
    });
    // Ends with an error when the client breaks off or the script says so: neither is news.
    let _served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}
