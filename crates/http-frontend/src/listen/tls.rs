//! TLS by a certificate and its key, read again when their files change, so that one that was renewed is used at once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use session_core::error::{Error, ErrorKind, Result};
use tokio_rustls::TlsAcceptor;

const OPERATION: &str = "read the certificate";

/// Where a certificate and its key are.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The certificate and those that vouch for it, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
}

/// When the files were changed last.
type Changed = (Option<SystemTime>, Option<SystemTime>);

/// The certificate as it is now.
#[derive(Debug)]
pub(crate) struct Certificate {
    config: TlsConfig,
    current: RwLock<(Changed, Arc<CertifiedKey>)>,
}

impl Certificate {
    fn load(config: TlsConfig) -> Result<Arc<Self>> {
        let current = (changed(&config), read(&config)?);
        Ok(Arc::new(Self {
            config,
            current: RwLock::new(current),
        }))
    }

    /// Looks whether the files changed. Those that cannot be used leave the certificate as it was.
    pub(crate) fn refresh(&self) {
        let now = changed(&self.config);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == now {
            return;
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.0 = now;
        match read(&self.config) {
            Ok(key) => {
                current.1 = key;
                tracing::info!(path = %self.config.certificate.display(), "the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "the new certificate cannot be used; the old one stays"),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(current.1.clone())
    }
}

/// What makes TLS of a connection: 1.2 at least, HTTP/1.1 alone.
pub(crate) fn acceptor(config: TlsConfig) -> Result<(TlsAcceptor, Arc<Certificate>)> {
    let certificate = Certificate::load(config)?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|source| {
            Error::new(ErrorKind::Internal, OPERATION, "TLS cannot be set up").with_source(source)
        })?
        .with_no_client_auth()
        .with_cert_resolver(certificate.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), certificate))
}

fn read(config: &TlsConfig) -> Result<Arc<CertifiedKey>> {
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|source| bad("the certificate cannot be read", &config.certificate).with_source(source))?;
    if chain.is_empty() {
        return Err(bad("there is no certificate in the file", &config.certificate));
    }
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|source| bad("the key cannot be read", &config.key).with_source(source))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map(Arc::new)
        .map_err(|source| {
            bad(
                "the certificate and the key do not fit together",
                &config.certificate,
            )
            .with_source(source)
        })
}

fn bad(message: &'static str, path: &Path) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message)
        .with_context("path", path.display())
        .with_hint("give PEM files: the certificate with those that vouch for it, and its key")
}

fn changed(config: &TlsConfig) -> Changed {
    let of = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    (of(&config.certificate), of(&config.key))
}
