//! A person logs in: discovery and registration, a URL to open, and one redirect that comes back to this machine.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use mcp_catalog::OAuth;
use rmcp::transport::auth::{
    AuthError, AuthorizationCallback, AuthorizationManager, CredentialStore as _, InMemoryCredentialStore,
    OAuthClientConfig, StoredCredentials,
};
use secrecy::{ExposeSecret as _, SecretString};
use session_core::mcp::ServerName;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::errand::Errands;
use super::store::{Kept, Store};
use super::told;
use crate::mcp::call::FailureCause;
use crate::mcp::upstream::{Gate, Reason, one_line};

/// What people are asked to trust.
const CLIENT: &str = "Cofferdam";
const CALLBACK: &str = "/callback";
/// How long a person may take.
const PERSON: Duration = Duration::from_secs(600);
/// How long a request may take to say what it wants.
const HEAD: Duration = Duration::from_secs(10);
/// Connections that are looked at. A browser makes a few; whatever else knocks is not let try for ever.
const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD: usize = 16 << 10;

/// A login that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// What may be done with it, as the server said.
    pub scopes: Vec<String>,
    /// When it expires, unless it is renewed.
    pub expires: Option<Timestamp>,
    /// Whether it is renewed without a person.
    pub renewable: bool,
}

/// What is asked for.
pub(in crate::mcp) struct Inquiry<'a> {
    pub(in crate::mcp) server: &'a ServerName,
    pub(in crate::mcp) endpoint: Uri,
    pub(in crate::mcp) oauth: &'a OAuth,
    pub(in crate::mcp) client_secret: Option<SecretString>,
    pub(in crate::mcp) store: &'a std::path::Path,
    pub(in crate::mcp) gate: Gate,
}

/// Logs in. `show` is given the URL that the person has to open.
pub(in crate::mcp) async fn run(inquiry: Inquiry<'_>, show: impl FnOnce(&str)) -> Result<LoggedIn, Reason> {
    let failed = |error: AuthError| (FailureCause::NeedsLogin, format!("no login: {}", told(&error)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.map_err(|error| no_listener(&error))?;
    let address = listener.local_addr().map_err(|error| no_listener(&error))?;
    let redirect = format!("http://{address}{CALLBACK}");
    let errands = Arc::new(Errands::new(inquiry.gate.clone()));
    let url = inquiry.endpoint.to_string();
    let manager = AuthorizationManager::new_with_oauth_http_client(url, errands).await;
    let mut manager = manager.map_err(failed)?;
    let found = manager.resolve_metadata().await.map_err(failed)?;
    manager.set_metadata(found.metadata);
    let memory = InMemoryCredentialStore::new();
    manager.set_credential_store(memory.clone());
    let (client, scopes) = client(&mut manager, &inquiry, &redirect).await.map_err(failed)?;
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let url = manager.get_authorization_url(&scopes).await.map_err(failed)?;
    let state = query(&url, "state").ok_or_else(|| failed(AuthError::NoAuthorizationSupport))?;
    show(&url);
    let callback = timeout(PERSON, redirected(listener, address, state)).await;
    let callback = callback.map_err(|_elapsed| {
        (
            FailureCause::NeedsLogin,
            "no login: nobody logged in in time".to_owned(),
        )
    })??;
    let callback = AuthorizationCallback::from_redirect_url(&format!("http://{address}{callback}"));
    let callback = callback.map_err(failed)?;
    let exchanged = manager.exchange_code_for_token_with_issuer(
        &callback.code,
        &callback.csrf_token,
        callback.issuer.as_deref(),
    );
    exchanged.await.map_err(failed)?;
    let credentials = memory.load().await.map_err(failed)?;
    let credentials = credentials.ok_or_else(|| failed(AuthError::AuthorizationRequired))?;
    // A secret of the operator's own stays where it is; one of a client that registered itself is kept with the login.
    let secret = client.client_secret.filter(|_| inquiry.oauth.client_id.is_none());
    keep(&inquiry, &redirect, secret, credentials).await
}

/// The client that asks, and what it asks for.
async fn client(
    manager: &mut AuthorizationManager,
    inquiry: &Inquiry<'_>,
    redirect: &str,
) -> Result<(OAuthClientConfig, Vec<String>), AuthError> {
    let scopes = match inquiry.oauth.scopes.as_slice() {
        [] => manager.select_initial_scopes(&[]).await,
        scopes => scopes.to_vec(),
    };
    let Some(id) = &inquiry.oauth.client_id else {
        let asked: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let client = manager.register_client(CLIENT, redirect, &asked).await?;
        return Ok((client, scopes));
    };
    let mut client = OAuthClientConfig::new(id, redirect);
    if let Some(secret) = &inquiry.client_secret {
        client = client.with_client_secret(secret.expose_secret());
    }
    manager.configure_client(client.clone())?;
    Ok((client, scopes))
}

async fn keep(
    inquiry: &Inquiry<'_>,
    redirect: &str,
    secret: Option<String>,
    credentials: StoredCredentials,
) -> Result<LoggedIn, Reason> {
    let unkept = || {
        (
            FailureCause::Unavailable,
            "no login: it cannot be kept on this host".to_owned(),
        )
    };
    let kept = Kept::new(&inquiry.endpoint, redirect, secret, credentials).ok_or_else(unkept)?;
    let store = Store::new(inquiry.store, inquiry.server);
    store.save(&kept).await.map_err(|_| unkept())?;
    let expires = kept.expires_at().and_then(|at| i64::try_from(at).ok());
    Ok(LoggedIn {
        scopes: kept.scopes().to_vec(),
        expires: expires.and_then(|at| Timestamp::from_second(at).ok()),
        renewable: kept.is_renewable(),
    })
}

fn no_listener(error: &std::io::Error) -> Reason {
    let detail = format!(
        "no login: this machine cannot listen for the redirect: {}",
        error.kind()
    );
    (FailureCause::Unavailable, detail)
}

/// Waits for the redirect that belongs to `state`, and gives its path and query.
async fn redirected(listener: TcpListener, address: SocketAddr, state: String) -> Result<String, Reason> {
    let (found, mut finding) = mpsc::channel(1);
    let state = Arc::new(state);
    for _ in 0..MAX_CONNECTIONS {
        let stream = tokio::select! {
            // The first that is right is it; nothing is lost with the others.
            biased;
            Some(callback) = finding.recv() => return callback,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => return Err(no_listener(&error)),
            },
        };
        let (state, found) = (Arc::clone(&state), found.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, address, &state, &found);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(MAX_HEAD)
                .keep_alive(false);
            // A browser that goes away harms nobody.
            let _ = timeout(HEAD, server.serve_connection(TokioIo::new(stream), service)).await;
        });
    }
    drop(found);
    finding.recv().await.unwrap_or_else(|| {
        let detail = "no login: too many requests came that were not the redirect".to_owned();
        Err((FailureCause::NeedsLogin, detail))
    })
}

type Found = mpsc::Sender<Result<String, Reason>>;

fn answer(
    request: &Request<Incoming>,
    address: SocketAddr,
    state: &str,
    found: &Found,
) -> Response<Full<Bytes>> {
    let is_ours = request
        .headers()
        .get(HOST)
        .is_some_and(|host| host.as_bytes() == address.to_string().as_bytes());
    if !is_ours || request.uri().path() != CALLBACK {
        return page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "There is nothing here.");
    }
    let text = request.uri().path_and_query().map_or("", |text| text.as_str());
    let given = query(text, "state").unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(state.as_bytes())) {
        return page(StatusCode::BAD_REQUEST, "This is not the login that was begun.");
    }
    let (told, callback) = match query(text, "error") {
        Some(error) => {
            let detail = format!("no login: the authorization server says {}", one_line(&error));
            (
                "The login was refused. You can close this page.",
                Err((FailureCause::NeedsLogin, detail)),
            )
        }
        None => ("You are logged in. You can close this page.", Ok(text.to_owned())),
    };
    match found.try_send(callback) {
        Ok(()) => page(StatusCode::OK, told),
        Err(_) => page(StatusCode::GONE, "This login is over."),
    }
}

fn page(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A parameter of a URL's query.
fn query(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1.split('#').next()?;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
