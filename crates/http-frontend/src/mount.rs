//! What is served here and made elsewhere: the MCP endpoint, for example.
//!
//! Each caller gets one of their own, over the lifecycle API as they see it. So nothing that it keeps between requests
//! can pass from one caller to another. Over what has no owner, such as the files of this host, the API cannot judge: whoever
//! makes the service looks at its caller for that, see [`Caller::may_touch_host`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::BoxError;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use session_core::api::SessionApi;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::{Service, ServiceExt as _};

use crate::caller::Caller;
use crate::state::AppState;

type Serve = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// That an answer comes from a mount, and is no problem of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromMount;

/// A service for one caller.
pub struct Mounted {
    serve: Serve,
    ending: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mounted")
    }
}

impl Mounted {
    /// A service, and what has to be waited for when it was told to stop.
    pub fn new<S, B>(service: S, ending: impl Future<Output = ()> + Send + 'static) -> Self
    where
        S: Service<Request, Response = hyper::Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let serve = move |request| {
            let service = service.clone();
            async move {
                match service.oneshot(request).await {
                    Ok(answer) => answer.map(Body::new),
                    Err(never) => match never {},
                }
            }
            .boxed()
        };
        Self {
            serve: Arc::new(serve),
            ending: ending.boxed(),
        }
    }
}

type Make = dyn Fn(&Caller, Arc<dyn SessionApi>, CancellationToken) -> Mounted + Send + Sync;

/// See the module.
#[derive(Clone)]
pub(crate) struct Mount {
    make: Arc<Make>,
    live: Arc<Mutex<HashMap<Caller, Live>>>,
}

struct Live {
    serve: Serve,
    /// Tells it to stop when its caller can come in no more.
    _stop: DropGuard,
}

impl Mount {
    pub(crate) fn new(
        make: impl Fn(&Caller, Arc<dyn SessionApi>, CancellationToken) -> Mounted + Send + Sync + 'static,
    ) -> Self {
        Self {
            make: Arc::new(make),
            live: Arc::default(),
        }
    }

    /// One request of a caller.
    pub(crate) async fn handle(self, state: AppState, caller: Caller, request: Request) -> Response {
        let serve = self.of(&state, &caller);
        let mut answer = serve(request).await;
        answer.extensions_mut().insert(FromMount);
        answer
    }

    /// Ends those of callers who can come in no more.
    pub(crate) fn prune(&self, can_come: impl Fn(&Caller) -> bool) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|caller, _| can_come(caller));
    }

    fn of(&self, state: &AppState, caller: &Caller) -> Serve {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = live.get(caller) {
            return live.serve.clone();
        }
        let stop = state.closing().child_token();
        let made = (self.make)(caller, caller.view(state), stop.clone());
        state.tasks().spawn(made.ending);
        live.insert(
            caller.clone(),
            Live {
                serve: made.serve.clone(),
                _stop: stop.drop_guard(),
            },
        );
        made.serve
    }
}
