//! The door as the core sees it.

use std::sync::Arc;

use session_core::budget::Budget;
use session_core::error::ErrorKind;
use session_core::gateway::{EGRESS_DOOR, EGRESS_PORT, Gateway, McpGrant, SessionGrant};
use session_core::id::SessionId;
use session_gateway::SessionGateway;
use session_gateway::egress::{CredentialRule, CredentialScheme, EgressConfig, SecretCell};
use session_gateway::model::ModelProxyConfig;
use testkit::ledger::MemoryLedger;
use tokio::io::AsyncWriteExt;

use crate::support::{read_all, read_head};

fn grant(sealed: bool, allow: &[&str]) -> SessionGrant {
    SessionGrant {
        token: "session-token-0123456789".into(),
        account: None,
        sealed,
        allow: allow.iter().map(|entry| entry.parse().unwrap()).collect(),
        budget: Budget::default(),
        mcp: McpGrant::default(),
        ledger: Arc::new(MemoryLedger::default()),
    }
}

fn gateway() -> SessionGateway {
    let source = Arc::new(SecretCell::new(None));
    let rule = CredentialRule::new("git.example", "/", CredentialScheme::Bearer, source).unwrap();
    SessionGateway::new(ModelProxyConfig::default()).with_egress(EgressConfig {
        presets: [("npm".parse().unwrap(), vec!["registry.example".parse().unwrap()])].into(),
        credentials: vec![rule],
        ..EgressConfig::default()
    })
}

#[tokio::test]
async fn a_sealed_session_has_the_door_and_an_open_one_has_not() {
    let gateway = gateway();
    let session = SessionId::new();
    let admission = gateway.admit(&session, grant(true, &[])).await.unwrap();
    let door = admission
        .doors
        .iter()
        .find(|door| door.name == EGRESS_DOOR)
        .unwrap();
    assert_eq!(door.port, EGRESS_PORT);
    assert_eq!(admission.credential_hosts, ["git.example"]);
    let open = gateway.admit(&SessionId::new(), grant(false, &[])).await.unwrap();
    assert!(open.doors.iter().all(|door| door.name != EGRESS_DOOR));
    assert!(open.credential_hosts.is_empty());
}

#[tokio::test]
async fn a_preset_that_does_not_exist_is_refused_with_those_that_do() {
    let gateway = gateway();
    let refused = gateway.admit(&SessionId::new(), grant(true, &["cargo"])).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.hint().unwrap().contains("npm"), "{error}");
    gateway
        .admit(&SessionId::new(), grant(true, &["npm"]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_is_served_until_it_is_dismissed() {
    let gateway = gateway();
    let session = SessionId::new();
    gateway.admit(&session, grant(true, &[])).await.unwrap();
    let (mut inside, outside) = tokio::io::duplex(4096);
    let served = tokio::spawn(gateway.serve(&session, EGRESS_DOOR, Box::new(outside)));
    inside
        .write_all(b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut inside).await.starts_with("HTTP/1.1 403"));
    gateway.dismiss(&session).await;
    served.await.unwrap();
    read_all(&mut inside).await;
    let (mut late, outside) = tokio::io::duplex(4096);
    gateway.serve(&session, EGRESS_DOOR, Box::new(outside)).await;
    assert_eq!(read_all(&mut late).await, "");
}
