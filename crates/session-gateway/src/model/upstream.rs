//! The connection pools to providers, and what their failures mean.
//!
//! HTTP/1.1, no system proxy, no redirects. TLS trusts the host's root certificates, which are read at the first request:
//! a process that forwards nothing does not pay for them.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::uri::Scheme;
use hyper::{Request, Response};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::config::Limits;
use super::held::LentBody;
use super::refusal::Refusal;
use crate::error::{Chain, GatewayError, GatewayErrorKind};

/// How long an unused connection is kept; shorter than servers usually do, so that it is we who close it.
const IDLE: Duration = Duration::from_secs(45);
/// How many unused connections are kept.
const MAX_IDLE: usize = 32;

type HttpClient = Client<HttpsConnector<HttpConnector>, LentBody>;

/// The way to all providers.
pub(crate) struct Upstream {
    connect_timeout: Duration,
    response_timeout: Duration,
    secure: OnceCell<HttpClient>,
    /// For addresses on loopback.
    plain: OnceCell<HttpClient>,
}

impl Upstream {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            connect_timeout: limits.connect_timeout,
            response_timeout: limits.response_timeout,
            secure: OnceCell::new(),
            plain: OnceCell::new(),
        }
    }

    /// Sends a request and waits for the head of its answer. `provider` is for the log.
    pub(crate) async fn send(
        &self,
        provider: &str,
        request: Request<LentBody>,
    ) -> Result<Response<Incoming>, Refusal> {
        let is_https = request.uri().scheme() == Some(&Scheme::HTTPS);
        let pool = if is_https { &self.secure } else { &self.plain };
        let client = match pool.get_or_try_init(|| self.connect_pool(is_https)).await {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the model proxy cannot make TLS connections");
                return Err(Refusal::NoTls);
            }
        };
        match tokio::time::timeout(self.response_timeout, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                tracing::warn!(provider, error = %Chain(&error), "a request to the model provider failed");
                Err(refusal_of(&error))
            }
            Err(_elapsed) => {
                tracing::warn!(provider, "the model provider did not answer in time");
                Err(Refusal::TimedOut)
            }
        }
    }

    async fn connect_pool(&self, is_https: bool) -> Result<HttpClient, GatewayError> {
        let builder = HttpsConnectorBuilder::new();
        let connector = if is_https {
            builder.with_tls_config(system_tls().await?).https_only()
        } else {
            builder.with_tls_config(no_tls()?).https_or_http()
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(self.connect_timeout));
        http.set_nodelay(true);
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector.enable_http1().wrap_connector(http)))
    }
}

fn tls_error(source: impl Into<Box<dyn StdError + Send + Sync>>) -> GatewayError {
    GatewayError::new(
        GatewayErrorKind::TlsUnavailable,
        "set up TLS",
        "the root certificates cannot be used",
    )
    .with_hint("install the system's CA certificates (the package ca-certificates)")
    .with_source(source)
}

/// Reads the host's root certificates: files, so not on an async thread.
async fn system_tls() -> Result<ClientConfig, GatewayError> {
    let load = || {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        Ok::<_, io::Error>(builder.with_native_roots()?.with_no_client_auth())
    };
    tokio::task::spawn_blocking(load)
        .await
        .map_err(tls_error)?
        .map_err(tls_error)
}

/// For an upstream on loopback, which is spoken to in clear: trusts nobody.
fn no_tls() -> Result<ClientConfig, GatewayError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// What the agent is told. The words are ours: an error of the system may name hosts and addresses.
fn refusal_of(error: &ClientError) -> Refusal {
    if !error.is_connect() {
        let http = error
            .source()
            .and_then(|source| source.downcast_ref::<hyper::Error>());
        return if http.is_some_and(hyper::Error::is_parse) {
            Refusal::Garbled
        } else {
            Refusal::Broken
        };
    }
    let mut cause = None;
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = next {
        cause = cause_of(error).or(cause);
        next = inner_of(error);
    }
    Refusal::Unreachable {
        cause: cause.unwrap_or("the connection failed"),
    }
}

/// What is behind an error. An I/O error names as its source what is behind the error that it holds, so that one is
/// asked for first.
fn inner_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    held.map(|held| held as _).or_else(|| error.source())
}

fn cause_of(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    if error.is::<rustls::Error>() {
        return Some("the TLS connection was refused, perhaps because of its certificate");
    }
    if error.to_string() == "dns error" {
        return Some("its name cannot be resolved");
    }
    let error = error.downcast_ref::<io::Error>()?;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some("the connection was refused"),
        io::ErrorKind::TimedOut => Some("the connection timed out"),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Some("there is no route to it"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Some("the connection was reset"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_causes_in_words_of_its_own() {
        let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::NoCertificatesPresented);
        let wrapped = io::Error::other(tls);
        let tls = inner_of(inner_of(&wrapped).unwrap()).unwrap();
        assert!(cause_of(tls).unwrap().contains("TLS"));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(cause_of(&refused), Some("the connection was refused"));
        assert_eq!(cause_of(&io::Error::other("10.1.2.3:443 is odd")), None);
    }

    #[tokio::test]
    async fn the_host_has_roots_or_says_so() {
        if let Err(error) = system_tls().await {
            assert_eq!(error.kind(), GatewayErrorKind::TlsUnavailable);
            assert!(error.hint().is_some());
        }
    }
}
