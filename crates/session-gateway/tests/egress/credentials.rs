//! Credentials by rule: added on the host, for the host that the rule names, and never seen inside.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use session_gateway::egress::{CredentialRule, CredentialScheme, SecretCell};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::support::{Door, Server, error_of, read_head};

const SECRET: &str = "canary-credential-0123456789";

/// A host that speaks TLS, remembers the heads that it got, and answers each with what a test says.
struct GitHost {
    server: Server,
    seen: Arc<Mutex<Vec<String>>>,
    authorities: RootCertStore,
}

impl GitHost {
    async fn start(name: &str, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        let server = Server::start(move |stream| {
            let (acceptor, log, answer) = (acceptor.clone(), Arc::clone(&log), Arc::clone(&answer));
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                loop {
                    let head = read_head(&mut stream).await;
                    if head.is_empty() {
                        return;
                    }
                    let answer = answer(&head);
                    log.lock().unwrap().push(head);
                    if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        let mut authorities = RootCertStore::empty();
        authorities.add(authority.der().clone()).unwrap();
        Self {
            server,
            seen,
            authorities,
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// A door with a credential for this host below `/team`, and the cell that holds it.
    fn door(&self, scheme: CredentialScheme) -> (Door, SecretCell, String) {
        let cell = SecretCell::new(Some(SECRET.into()));
        let authority = format!("git.example:{}", self.server.port);
        let rule = CredentialRule::new("git.example", "/team", scheme, Arc::new(cell.clone()))
            .unwrap()
            .at_port(self.server.port);
        let authorities = self.authorities.clone();
        let door = Door::with(&[&authority], |config| {
            config.credentials = vec![rule];
            config.authorities = Some(authorities);
        });
        door.lead_home("git.example");
        assert_eq!(door.proxy.credential_hosts(), [authority.as_str()]);
        (door, cell, authority)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn git() -> CredentialScheme {
    CredentialScheme::Basic {
        user: "x-access-token".to_owned(),
    }
}

#[tokio::test]
async fn a_credential_is_added_below_its_path_and_nowhere_else() {
    let host = GitHost::start("git.example", |_| ok("hello")).await;
    let (door, _, authority) = host.door(git());
    for path in [
        "/team/a.git/info/refs?service=git-upload-pack",
        "/teams/b.git",
        "/team/../other",
        "/",
    ] {
        let answer = door.get(&format!("http://{authority}{path}"), "").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
            "{answer}"
        );
        assert!(!answer.contains("canary"));
    }
    let expected = format!(
        "authorization: Basic {}",
        BASE64_STANDARD.encode(format!("x-access-token:{SECRET}"))
    );
    let with: Vec<_> = host.seen().iter().map(|head| head.contains(&expected)).collect();
    assert_eq!(with, [true, false, false, false]);
    for head in host.seen() {
        assert!(head.contains(&format!("host: {authority}\r\n")), "{head}");
        assert_eq!(
            head.matches("authorization").count(),
            usize::from(head.contains(&expected))
        );
    }
}

#[tokio::test]
async fn other_schemes_put_it_where_they_say() {
    let header = CredentialScheme::Header {
        name: "x-registry-key".parse().unwrap(),
    };
    for (scheme, expected) in [
        (
            CredentialScheme::Bearer,
            format!("authorization: Bearer {SECRET}"),
        ),
        (header, format!("x-registry-key: {SECRET}")),
    ] {
        let host = GitHost::start("git.example", |_| ok("")).await;
        let (door, _, authority) = host.door(scheme);
        door.get(&format!("http://{authority}/team/x"), "x-registry-key: own\r\n")
            .await;
        assert!(host.seen()[0].contains(&expected), "{:?}", host.seen());
    }
}

#[tokio::test]
async fn what_the_session_sends_as_authorization_ends_at_the_door() {
    let host = GitHost::start("git.example", |_| ok("")).await;
    let (door, _, authority) = host.door(git());
    for path in ["/team/a", "/else"] {
        door.get(
            &format!("http://{authority}{path}"),
            "authorization: Bearer planted\r\nauthorization: Basic planted\r\n",
        )
        .await;
    }
    assert!(
        host.seen().iter().all(|head| !head.contains("planted")),
        "{:?}",
        host.seen()
    );
}

#[tokio::test]
async fn an_answer_that_repeats_the_credential_is_masked() {
    let encoded = BASE64_STANDARD.encode(format!("x-access-token:{SECRET}"));
    let body = format!("you sent {encoded}, which is {SECRET}.");
    let answer = format!(
        "HTTP/1.1 401 Unauthorized\r\nx-debug: {SECRET}\r\nset-cookie: session=1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let host = GitHost::start("git.example", move |_| answer.clone()).await;
    let (door, _, authority) = host.door(git());
    let answer = door.get(&format!("http://{authority}/team/a"), "").await;
    assert!(answer.starts_with("HTTP/1.1 401"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!answer.contains(SECRET) && !answer.contains(&encoded), "{answer}");
    assert!(
        head.contains("x-debug: ****") && !head.contains("set-cookie"),
        "{head}"
    );
    assert!(
        body.starts_with("you sent ****") && body.ends_with("****."),
        "{body}"
    );
    assert!(host.seen()[0].contains("accept-encoding: identity"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_searched_does_not_pass() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nzip";
    let host = GitHost::start("git.example", move |_| answer.to_owned()).await;
    let (door, _, authority) = host.door(git());
    let refused = door.get(&format!("http://{authority}/team/a"), "").await;
    assert_eq!(error_of(&refused, 502)["reason"], "encoded");
    // Without the credential there is nothing to search for.
    let passed = door.get(&format!("http://{authority}/else"), "").await;
    assert!(passed.ends_with("\r\n\r\nzip"), "{passed}");
}

#[tokio::test]
async fn a_rotated_credential_is_used_at_the_next_request() {
    let host = GitHost::start("git.example", |_| ok("")).await;
    let (door, cell, authority) = host.door(CredentialScheme::Bearer);
    let url = format!("http://{authority}/team/a");
    door.get(&url, "").await;
    cell.replace(Some("another-credential".into()));
    door.get(&url, "").await;
    cell.replace(None);
    let answer = door.get(&url, "").await;
    assert_eq!(error_of(&answer, 502)["reason"], "no_credential");
    let seen = host.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].contains(SECRET) && seen[1].contains("Bearer another-credential"));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_leads_back_to_the_door_for_the_same_host() {
    let elsewhere = Server::echo().await;
    let port = elsewhere.port;
    let host = GitHost::start("git.example", move |head| {
        let to = match head.split(' ').nth(1) {
            Some("/team/moved") => {
                let own = head.to_lowercase();
                let own = own
                    .lines()
                    .find_map(|line| line.strip_prefix("host: "))
                    .unwrap()
                    .to_owned();
                format!("https://{own}/team/new")
            }
            _ => format!("http://elsewhere.example:{port}/"),
        };
        format!("HTTP/1.1 301 Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let (door, _, authority) = host.door(git());
    let answer = door.get(&format!("http://{authority}/team/moved"), "").await;
    assert!(
        answer.contains(&format!("location: http://{authority}/team/new\r\n")),
        "{answer}"
    );
    let answer = door.get(&format!("http://{authority}/team/away"), "").await;
    assert!(
        answer.contains(&format!("location: http://elsewhere.example:{port}/\r\n")),
        "{answer}"
    );
    assert_eq!((host.seen().len(), elsewhere.taken()), (2, 0));
}

#[tokio::test]
async fn a_host_that_is_not_allowed_gets_no_credential() {
    let host = GitHost::start("git.example", |_| ok("")).await;
    let (door, _, authority) = host.door(git());
    door.book.decide(None, &authority, false);
    let answer = door.get(&format!("http://{authority}/team/a"), "").await;
    assert_eq!(error_of(&answer, 403)["reason"], "refused");
    assert_eq!(host.server.taken(), 0);
}

#[tokio::test]
async fn a_host_that_cannot_prove_its_name_gets_no_credential() {
    let host = GitHost::start("impostor.example", |_| ok("")).await;
    let (door, _, authority) = host.door(git());
    let answer = door.get(&format!("http://{authority}/team/a"), "").await;
    let error = error_of(&answer, 502);
    assert_eq!(error["reason"], "unreachable");
    assert!(error["message"].as_str().unwrap().contains("TLS"));
    assert!(host.seen().is_empty());
}

#[tokio::test]
async fn a_tunnel_to_the_host_passes_without_a_credential() {
    let host = GitHost::start("git.example", |_| ok("")).await;
    let (door, _, authority) = host.door(git());
    let tunnel = door.tunnel(&authority).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(host.authorities.clone())
        .with_no_client_auth();
    let name = "git.example".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut tls = connector.connect(name, tunnel).await.unwrap();
    tls.write_all(b"GET /team/a HTTP/1.1\r\nhost: git.example\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut tls).await.starts_with("HTTP/1.1 200"));
    assert!(!host.seen()[0].contains("authorization"));
}

/// What a rule sends to TLS never goes out in clear, also outside its path.
#[tokio::test]
async fn nothing_goes_to_a_credential_host_in_clear() {
    let first = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&first);
    let clear = Server::start(move |mut stream| {
        let log = Arc::clone(&log);
        async move {
            let byte = stream.read_u8().await;
            log.lock().unwrap().push(byte.ok());
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        }
    })
    .await;
    let rule = CredentialRule::new(
        "git.example",
        "/team",
        CredentialScheme::Bearer,
        Arc::new(SecretCell::new(Some(SECRET.into()))),
    )
    .unwrap()
    .at_port(clear.port);
    let authority = format!("git.example:{}", clear.port);
    let door = Door::with(&[&authority], |config| {
        config.credentials = vec![rule];
        config.authorities = Some(RootCertStore::empty());
    });
    door.lead_home("git.example");
    for path in ["/team/a", "/else"] {
        let answer = door.get(&format!("http://{authority}{path}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
    assert_eq!(
        *first.lock().unwrap(),
        [Some(0x16), Some(0x16)],
        "TLS handshakes and nothing else"
    );
}

/// A host that repeats what it is sent must not be made to repeat the credential in parts too small to be recognised.
#[tokio::test]
async fn an_answer_with_a_credential_is_whole() {
    let host = GitHost::start("git.example", |_| ok("hello")).await;
    let (door, _, authority) = host.door(git());
    let fields = "range: bytes=0-20\r\nif-range: \"x\"\r\n";
    door.get(&format!("http://{authority}/team/a"), fields).await;
    door.get(&format!("http://{authority}/other"), fields).await;
    let asks_for_a_part = |head: &String| head.to_lowercase().contains("range:");
    assert_eq!(
        host.seen().iter().map(asks_for_a_part).collect::<Vec<_>>(),
        [false, true]
    );
}
