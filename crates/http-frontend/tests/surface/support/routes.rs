//! What is mounted for tests: routes that read, stream, flood and ask.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use http_frontend::Mounted;
use http_frontend::caller::Caller;
use http_frontend::problem::Failure;
use hyper_util::rt::TokioIo;
use mcp_frontend::{McpOptions, McpServer, ServiceOptions, Toolset};
use session_core::api::SessionApi;
use session_core::policy::mounts::HostPaths;
use session_core::session::{CreateSession, SessionFilter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

type Api = Arc<dyn SessionApi>;

pub(crate) fn mounted(_: &Caller, api: Api, stop: CancellationToken) -> Mounted {
    let service = tower::service_fn(move |request: Request| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(answer(api, request).await) }
    });
    Mounted::new(service, async move { stop.cancelled().await })
}

/// The MCP endpoint, as the daemon mounts it.
pub(crate) fn mcp(caller: &Caller, api: Api, stop: CancellationToken) -> Mounted {
    let mut options = McpOptions::new(HostPaths {
        state_dir: "/var/lib/cofferdam-test".into(),
        ..HostPaths::default()
    });
    options.host = options.host.filter(|_| caller.may_touch_host());
    options.toolsets = [Toolset::Sessions].into();
    let service = McpServer::new(api, options).into_service(ServiceOptions::default());
    let ending = service.clone();
    Mounted::new(service, async move {
        stop.cancelled().await;
        ending.close().await;
    })
}

async fn answer(api: Api, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match request.uri().path() {
        "/t/sink" => sink(request).await,
        "/t/flood" => Body::from_stream(futures::stream::repeat_with(|| {
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 64 << 10]))
        }))
        .into_response(),
        "/t/ticks" => ticks(),
        "/t/echo" => echo(request),
        "/t/list" => {
            let all = api.list(SessionFilter::default()).await.unwrap();
            let ids: Vec<_> = all.iter().map(|info| info.id.to_string()).collect();
            ids.join("\n").into_response()
        }
        "/t/look" => told(api.session(&query.parse().unwrap()).await.map(|info| info.owner)),
        "/t/pause" => told(api.pause(&query.parse().unwrap()).await),
        "/t/create" => told(api.create(CreateSession::default()).await.map(|info| info.owner)),
        "/t/panic" => panic!("on purpose"),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn told<T: std::fmt::Debug>(outcome: session_core::error::Result<T>) -> Response {
    match outcome {
        Ok(value) => format!("{value:?}").into_response(),
        Err(error) => Failure::from(error).into_response(),
    }
}

/// Reads everything and says how much it was.
async fn sink(request: Request) -> Response {
    match request.into_body().collect().await {
        Ok(body) => body.to_bytes().len().to_string().into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Events, for ever.
fn ticks() -> Response {
    let ticks = futures::stream::repeat(Bytes::from_static(b"data: tick\n\n")).then(|tick| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(tick)
    });
    let mut answer = Body::from_stream(ticks).into_response();
    let kind = HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert("content-type", kind);
    answer
}

/// Leaves HTTP and repeats what comes.
fn echo(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let mut io = TokioIo::new(io);
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = io.read(&mut bytes).await {
            if io.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    });
    let mut answer = StatusCode::SWITCHING_PROTOCOLS.into_response();
    for (name, value) in [("connection", "upgrade"), ("upgrade", "echo")] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
