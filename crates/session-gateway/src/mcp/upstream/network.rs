//! How servers over HTTP are reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;

use crate::egress::{Resolve, SystemResolver};

/// See the module.
#[derive(Clone)]
pub struct Network {
    /// Resolves names.
    pub resolver: Arc<dyn Resolve>,
    /// Whom TLS trusts; the system's authorities when `None`.
    pub authorities: Option<RootCertStore>,
    /// How long a name may take to be resolved.
    pub resolve_timeout: Duration,
    /// How long a connection may take to come about, and as long again the TLS handshake.
    pub connect_timeout: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver::default()),
            authorities: None,
            resolve_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}
