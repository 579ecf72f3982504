//! Where a server is, and by what means it is reached.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use session_core::error::{Error, ErrorKind, Result};
use url::{Host, Url};

use crate::options::ConnectOptions;

const OPERATION: &str = "read the server's address";

/// Where a server is.
#[derive(Clone)]
pub(crate) enum Address {
    /// A Unix socket.
    Socket(PathBuf),
    /// A port.
    Port {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// How the connection is encrypted, when it is.
        tls: Option<Tls>,
    },
}

/// What it takes to talk TLS with one server.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl Address {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`. With a token, plain HTTP must stay on this host.
    pub(crate) fn parse(text: &str, token: bool, options: &ConnectOptions) -> Result<Self> {
        let url = Url::parse(text).map_err(|source| {
            refuse("this is no URL")
                .with_hint("write it as https://HOST:PORT")
                .with_source(source)
        })?;
        // What is wrong with it is told without repeating it: a password may be in it.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("a name or password has no place in an address")
                .with_hint("give a token instead; `cofferdam token create` makes one"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("an address has no path").with_hint("write it as https://HOST:PORT"));
        }
        let encrypted = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(refuse("only http and https are spoken").with_context("scheme", url.scheme())),
        };
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(refuse("there is no host in it").with_hint("write it as https://HOST:PORT"));
        };
        if token && !encrypted && !options.plain_text && !is_loopback(&host) {
            return Err(refuse("a token would cross the network in the clear")
                .with_context("host", &host)
                .with_hint("use https, or allow it when something else encrypts the way"));
        }
        Ok(Self::Port {
            tls: encrypted.then(|| tls(&host, options)).transpose()?,
            host: bare(&host),
            port,
        })
    }

    /// The base of the URLs of requests; its host is what the server is told that it is called. Encryption is the
    /// connection's own matter, so that it is `http` in any case.
    pub(crate) fn origin(&self) -> String {
        match self {
            Self::Socket(_) => "http://localhost".to_owned(),
            Self::Port { host, port, .. } => format!("http://{}:{port}", bracketed(host)),
        }
    }
}

/// How the server is named in messages.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Port { host, port, tls } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{}:{port}", bracketed(host))
            }
        }
    }
}

fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message)
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn bare(host: &Host<&str>) -> String {
    match host {
        Host::Ipv6(address) => address.to_string(),
        other => other.to_string(),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn tls(host: &Host<&str>, options: &ConnectOptions) -> Result<Tls> {
    let name = ServerName::try_from(bare(host))
        .map_err(|source| refuse("no certificate can bear this name").with_source(source))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |source: rustls::Error| refuse("TLS cannot be set up").with_source(source);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match &options.certificates {
        Some(pem) => builder.with_root_certificates(roots(pem)?),
        None => builder.with_native_roots().map_err(|source| {
            Error::new(
                ErrorKind::HostIo,
                OPERATION,
                "this host's certificates cannot be read",
            )
            .with_source(source)
        })?,
    };
    Ok(Tls {
        config: Arc::new(builder.with_no_client_auth()),
        name,
    })
}

fn roots(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|source| refuse("the certificates cannot be read").with_source(source))?;
        roots
            .add(certificate)
            .map_err(|source| refuse("a certificate cannot be trusted").with_source(source))?;
    }
    if roots.is_empty() {
        return Err(refuse("there is no certificate to trust").with_hint("give certificates in PEM form"));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address> {
        Address::parse(text, true, &ConnectOptions::default())
    }

    #[test]
    fn addresses_are_told_as_they_are_reached() {
        for (text, name, origin) in [
            (
                "http://127.0.0.1:3000",
                "http://127.0.0.1:3000",
                "http://127.0.0.1:3000",
            ),
            ("http://localhost", "http://localhost:80", "http://localhost:80"),
            ("http://[::1]:81/", "http://[::1]:81", "http://[::1]:81"),
            (
                "https://example.com",
                "https://example.com:443",
                "http://example.com:443",
            ),
        ] {
            let address = parse(text).unwrap();
            assert_eq!(
                (address.to_string(), address.origin()),
                (name.to_owned(), origin.to_owned())
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_password_repeated() {
        for text in [
            "",
            "localhost:3000",
            "ftp://localhost",
            "http://u:canary@localhost",
            "http://localhost/canary",
            "http://localhost?canary",
        ] {
            let error = parse(text).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn a_token_does_not_cross_the_network_in_the_clear() {
        for text in ["http://example.com", "http://10.0.0.1:1", "http://[2001:db8::1]"] {
            assert!(parse(text).is_err(), "{text}");
            let allowed = ConnectOptions::default().allow_plain_text();
            assert!(Address::parse(text, true, &allowed).is_ok(), "{text}");
            assert!(
                Address::parse(text, false, &ConnectOptions::default()).is_ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn certificates_must_be_there() {
        for pem in [
            "",
            "no certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let options = ConnectOptions::default().trust_only(pem);
            assert!(
                Address::parse("https://localhost", true, &options).is_err(),
                "{pem}"
            );
        }
    }
}
