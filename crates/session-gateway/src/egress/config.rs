//! What the operator configures: sets of hosts, what is always open, private networks, credentials, limits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::RootCertStore;
use session_core::egress::{HostRule, PresetName};

use super::credential::CredentialRule;
use super::resolver::{Resolve, SystemResolver};

/// How an [`EgressProxy`](super::EgressProxy) works. `Default` opens nothing: sessions reach the hosts that they are
/// created with and those that people approve.
#[derive(Clone)]
pub struct EgressConfig {
    /// Named sets of hosts, for sessions that ask for them.
    pub presets: BTreeMap<PresetName, Vec<HostRule>>,
    /// Hosts that every session may reach.
    pub always: Vec<HostRule>,
    /// Private networks that names may lead to. Addresses by number stay closed, and so do metadata services, unless one
    /// is opened by its address alone (`/32`, `/128`).
    pub private_networks: Vec<IpNet>,
    /// Credentials that are added here, on the host.
    pub credentials: Vec<CredentialRule>,
    /// What one session may use.
    pub limits: EgressLimits,
    /// How names are resolved; the system's name servers and hosts file by default.
    pub resolver: Arc<dyn Resolve>,
    /// Whom TLS connections to credential hosts trust; the system's authorities when `None`.
    pub authorities: Option<RootCertStore>,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            presets: BTreeMap::new(),
            always: Vec::new(),
            private_networks: Vec::new(),
            credentials: Vec::new(),
            limits: EgressLimits::default(),
            resolver: Arc::new(SystemResolver::default()),
            authorities: None,
        }
    }
}

impl fmt::Debug for EgressConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressConfig")
            .field("presets", &self.presets)
            .field("always", &self.always)
            .field("private_networks", &self.private_networks)
            .field("credentials", &self.credentials)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Bounds that keep one session from starving its host or its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressLimits {
    /// Connections of one session that are open at once; what comes in beyond is told so.
    pub max_connections: usize,
    /// Bytes that a session may move in all, both ways, since it was admitted; no bound when `None`.
    pub max_bytes: Option<u64>,
    /// Bytes per second that a session may move, both ways and over all its connections; no bound when `None`.
    pub bytes_per_second: Option<u64>,
    /// Number of header fields of one request.
    pub max_headers: usize,
    /// Bytes of one request's head, and of what is read ahead of a slow host. At least 8 KiB.
    pub max_buffer: usize,
    /// From the end of one request (or the opening) to the complete head of the next.
    pub head_timeout: Duration,
    /// To an answer of the name server.
    pub resolve_timeout: Duration,
    /// To a connection with the host, over all its addresses; the TLS handshake has as long once more.
    pub connect_timeout: Duration,
    /// From a plain request to the head of its answer.
    pub response_timeout: Duration,
    /// For how long a connection may carry nothing. One whose one direction has ended gets a minute.
    pub idle_timeout: Duration,
    /// How long the body of a refused request is read away, so that its sender reads the answer.
    pub drain_timeout: Duration,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            max_bytes: None,
            bytes_per_second: None,
            max_headers: 128,
            max_buffer: 64 * 1024,
            head_timeout: Duration::from_secs(120),
            resolve_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(900),
            drain_timeout: Duration::from_secs(5),
        }
    }
}
