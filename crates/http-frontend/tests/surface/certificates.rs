//! TLS by files, which may be replaced while the server runs.

use std::path::Path;
use std::sync::Arc;

use http_frontend::listen::TlsConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::support::client::request;
use crate::support::{House, SOON};

/// Writes a new certificate and its key, and answers whom to trust.
fn renew(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn config(dir: &TempDir) -> TlsConfig {
    TlsConfig {
        certificate: dir.path().join("cert.pem"),
        key: dir.path().join("key.pem"),
    }
}

/// Asks whoever proves to be the owner of `trusted`.
async fn ask(
    house: &House,
    trusted: &CertificateDer<'static>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, house.tcp().await).await.ok()?;
    let bearer = format!("Bearer {}", house.admin);
    let text = request(
        "GET /healthz",
        &[("host", "localhost"), ("authorization", &bearer)],
        b"",
    );
    stream.write_all(&text).await.unwrap();
    let mut answer = Vec::new();
    // Some servers close without a farewell; what came counts.
    let _ = stream.read_to_end(&mut answer).await;
    Some(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn the_api_is_served_over_tls_1_2_and_1_3() {
    let dir = TempDir::new().unwrap();
    let trusted = renew(dir.path());
    let house = House::encrypted(config(&dir)).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let answer = ask(&house, &trusted, version).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("strict-transport-security: "), "{answer}");
    }
    house.ended().await;
}

#[tokio::test]
async fn who_does_not_speak_tls_gets_nothing() {
    let dir = TempDir::new().unwrap();
    renew(dir.path());
    let house = House::encrypted(config(&dir)).await;
    let mut stream = house.tcp().await;
    let bearer = format!("Bearer {}", house.admin);
    let text = request(
        "GET /healthz",
        &[("host", "localhost"), ("authorization", &bearer)],
        b"",
    );
    stream.write_all(&text).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    // Reset or closed, it is over.
    let _ = tokio::time::timeout(SOON, reading).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    house.ended().await;
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_used_and_a_broken_one_is_not() {
    let dir = TempDir::new().unwrap();
    let old = renew(dir.path());
    let house = House::encrypted(config(&dir)).await;
    assert!(ask(&house, &old, &rustls::version::TLS13).await.is_some());
    let new = renew(dir.path());
    let renewed = async {
        while ask(&house, &new, &rustls::version::TLS13).await.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, renewed).await.unwrap();
    assert!(ask(&house, &old, &rustls::version::TLS13).await.is_none());
    std::fs::write(dir.path().join("cert.pem"), "nonsense").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert!(ask(&house, &new, &rustls::version::TLS13).await.is_some());
    house.ended().await;
}
