//! What every request goes through before anybody handles it, and every answer before it leaves.
//!
//! In this order: who is asked (Host), from which page (Origin), by whom (socket or token), what kind of body, how often.
//! The first that says no answers, in the same form.

mod answer;
mod gate;
mod names;
mod origin;
mod rates;
mod record;
mod refusal;
mod token;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http_api::SurfaceCode;
use tracing::Instrument as _;

use self::gate::Admitted;
use self::record::Record;
use crate::audit;
use crate::body::{Stalling, Weighed};
use crate::connection::Connection;
use crate::options::HttpOptions;
use crate::problem::Failure;
use crate::state::AppState;
use crate::tokens::TokenTable;

pub(crate) use self::gate::Gate;

/// What the surface of a server holds.
#[derive(Clone)]
pub(crate) struct Surface {
    pub(crate) state: AppState,
    pub(crate) gate: Arc<Gate>,
}

impl Surface {
    pub(crate) fn new(state: AppState, tokens: Arc<TokenTable>, options: &HttpOptions) -> Self {
        Self {
            gate: Arc::new(Gate::new(tokens, options)),
            state,
        }
    }
}

/// The id of a request, as its log lines bear it. An extension of every request.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

/// One request through the surface.
pub(crate) async fn pass(State(surface): State<Surface>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = RequestId(format!("{:032x}", rand::random::<u128>()).into());
    let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
        return Failure::new(SurfaceCode::Internal, "a request has no connection").into_response();
    };
    fail::fail_point!("http.request.before");
    let mut record = Record::of(&request, &id);
    let admitted = surface.gate.admit(connection.peer, &request);
    let origin = surface.gate.origin_to_name(&request);
    let head = request.method() == Method::HEAD;
    let mut answer = match admitted {
        Err(refusal) => {
            surface.state.metrics().refused(refusal.reason());
            record.refused(refusal.reason());
            if let Some(rule) = refusal.rule() {
                let asked = audit::asked(request.method(), request.extensions());
                audit::turned_away(&surface.state, connection.peer.actor(), rule, asked).await;
            }
            refusal.into_response()
        }
        Ok(Admitted::Preflight(answer)) => answer,
        Ok(Admitted::Caller(admitted)) => {
            connection.identify(admitted.identity);
            record.caller(&admitted.caller);
            let span = record.span();
            let load = surface.state.scales().load(&admitted.caller);
            request.extensions_mut().insert(admitted.caller);
            request.extensions_mut().insert(id.clone());
            let patience = surface.state.options().body_timeout;
            let streamed = is_streamed(request.uri().path());
            let request = request.map(|body| match Stalling::guard(body, patience) {
                body if streamed => body,
                body => Weighed::guard(body, load),
            });
            let handled = AssertUnwindSafe(next.run(request).instrument(span)).catch_unwind();
            // What a handler panicked with is in the log by its hook; it is not for clients.
            let handled = handled.await.unwrap_or_else(|_| {
                Failure::new(SurfaceCode::Internal, "the server failed at this request").into_response()
            });
            let mut answer = answer::as_problem(handled).await;
            admitted.rate.tell(answer.headers_mut());
            answer
        }
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.upgrade();
    }
    fail::fail_point!("http.answer.before");
    answer::dress(&mut answer, connection.peer, &id, origin);
    record.answered(&answer, began, surface.state.clone());
    answer::watch(answer, record, head, surface.state.closing())
}

/// Whether what is sent there goes through piece by piece, and nothing of it is kept.
fn is_streamed(path: &str) -> bool {
    path.starts_with("/v1/sessions/") && (path.ends_with("/files") || path.ends_with("/stdin"))
}
