//! Who may come in.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use axum::response::Response;

use super::names::{self, Named};
use super::origin::{self, Origins};
use super::rates::{Rates, Told};
use super::refusal::Refusal;
use super::token;
use crate::caller::Caller;
use crate::connection::Peer;
use crate::options::HttpOptions;
use crate::tokens::{Identity, TokenTable};

/// What web pages can send across origins without being asked first.
const FORMS: [&str; 3] = [
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
];

/// See the module.
pub(crate) struct Gate {
    tokens: Arc<TokenTable>,
    hosts: Vec<Named>,
    /// The names of the socket.
    local: Vec<Named>,
    origins: Origins,
    rates: Rates,
    /// Whether something in front may speak TLS with our clients.
    proxied: bool,
}

/// Somebody was let in.
pub(super) struct Entry {
    pub(super) caller: Caller,
    /// With which token.
    pub(super) identity: Option<Identity>,
    pub(super) rate: Told,
}

/// What becomes of a request that may come in.
pub(super) enum Admitted {
    /// A browser asks whether a page may ask.
    Preflight(Response),
    Caller(Entry),
}

impl Gate {
    pub(super) fn new(tokens: Arc<TokenTable>, options: &HttpOptions) -> Self {
        let hosts = options.allowed_hosts.iter();
        Self {
            tokens,
            hosts: hosts.filter_map(|host| names::authority(host.trim())).collect(),
            local: ["localhost", "cofferdam"]
                .map(|name| (name.to_owned(), None))
                .into(),
            origins: Origins::new(&options.allowed_origins),
            rates: Rates::new(options),
            proxied: options.allow_remote,
        }
    }

    /// Forgets what makes no difference any more.
    pub(crate) fn sweep(&self) {
        self.rates.sweep();
    }

    pub(super) fn origin_to_name(&self, request: &Request<Body>) -> Option<HeaderValue> {
        self.origins.to_name(request.headers())
    }

    pub(super) fn admit(&self, peer: Peer, request: &Request<Body>) -> Result<Admitted, Refusal> {
        let host = self.host(peer, request)?;
        self.origins.judge(&host, self.schemes(peer), request.headers())?;
        if let Some(answer) = origin::preflight(request) {
            return Ok(Admitted::Preflight(answer));
        }
        let mut entry = match peer {
            Peer::Local { uid } => Entry {
                caller: Caller::local_as(uid),
                identity: None,
                rate: Told::UNLIMITED,
            },
            Peer::Remote { address, .. } => self.token(address, request.headers())?,
        };
        if is_form(request) {
            return Err(Refusal::Form);
        }
        if let Some(name) = entry.caller.name() {
            entry.rate = self
                .rates
                .request(name, request.uri().path())
                .map_err(|(wait, allowance)| Refusal::Rate(wait, allowance))?;
        }
        Ok(Admitted::Caller(entry))
    }

    /// The name under which the server is addressed, if it is one of its own.
    fn host(&self, peer: Peer, request: &Request<Body>) -> Result<Named, Refusal> {
        let uri = request.uri().authority();
        let mut given = request.headers().get_all(HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(host), None) => host.to_str().ok().and_then(names::authority),
            (None, _) => uri.and_then(|name| names::authority(name.as_str())),
            (Some(_), Some(_)) => None,
        };
        let host = host.ok_or(Refusal::Host)?;
        // An absolute request line names a host, too; two that differ are a trick.
        if uri.is_some_and(|other| names::normal(other) != host) {
            return Err(Refusal::Host);
        }
        let known = match peer {
            Peer::Local { .. } => &self.local,
            Peer::Remote { .. } => &self.hosts,
        };
        if names::is_known(known, &host) {
            Ok(host)
        } else {
            Err(Refusal::Host)
        }
    }

    /// The schemes of addresses under which a page of this very server could be.
    fn schemes(&self, peer: Peer) -> &'static [&'static str] {
        match peer {
            Peer::Remote { encrypted: true, .. } => &["https"],
            _ if self.proxied => &["http", "https"],
            _ => &["http"],
        }
    }

    fn token(&self, from: IpAddr, headers: &HeaderMap) -> Result<Entry, Refusal> {
        let token = token::presented(headers).ok_or(Refusal::Token)?;
        if let Some((identity, caller)) = self.tokens.find(token) {
            return Ok(Entry {
                caller,
                identity: Some(identity),
                rate: Told::UNLIMITED,
            });
        }
        // Whoever has a token is never asked how often others at their address were wrong: one that is no secret's would lock
        // everybody out. That nobody finds one by trying is a matter of its length.
        if let Some(wait) = self.rates.guessing(from) {
            return Err(Refusal::Guessing(wait));
        }
        self.rates.failed(from);
        Err(self
            .rates
            .guessing(from)
            .map_or(Refusal::Token, Refusal::Guessing))
    }
}

/// Whether a page could have sent this without being asked.
fn is_form(request: &Request<Body>) -> bool {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    request.headers().get_all(CONTENT_TYPE).iter().any(|kind| {
        kind.to_str().is_ok_and(|kind| {
            let media = kind.split([';', ',']).next().unwrap_or_default().trim();
            FORMS.iter().any(|form| media.eq_ignore_ascii_case(form))
        })
    })
}
