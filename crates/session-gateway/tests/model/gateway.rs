//! The gateway as the core uses it.

use session_core::error::ErrorKind;
use std::sync::Arc;

use session_core::budget::Budget;
use session_core::gateway::{Gateway, MODEL_DOOR, MODEL_PORT, McpGrant, ProviderAccount, SessionGrant};
use session_core::id::SessionId;
use session_gateway::SessionGateway;
use session_gateway::model::{CredentialSource, ModelProxyConfig};
use testkit::ledger::MemoryLedger;

use crate::support::{Provider, TOKEN, connect, json, prompt, read};

#[tokio::test]
async fn a_session_is_admitted_served_counted_and_dismissed() {
    let provider =
        Provider::start(async |_| json(200, r#"{"usage":{"input_tokens":1,"output_tokens":2}}"#)).await;
    let gateway = SessionGateway::new(ModelProxyConfig::messages(
        provider.base.clone(),
        CredentialSource::default(),
    ));
    let session = SessionId::new();
    let grant = |credential: &str| SessionGrant {
        token: TOKEN.into(),
        account: Some(ProviderAccount::ApiKey(credential.into())),
        sealed: true,
        allow: Vec::new(),
        budget: Budget::default(),
        mcp: McpGrant::default(),
        ledger: Arc::new(MemoryLedger::default()),
    };

    let error = gateway.admit(&session, grant("bad key")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.hint().is_some());

    let doors = gateway
        .admit(&session, grant("the-session-s-key"))
        .await
        .unwrap()
        .doors;
    let door = doors.iter().find(|door| door.name == MODEL_DOOR).unwrap();
    assert_eq!(door.port, MODEL_PORT);

    let (inside, outside) = tokio::io::duplex(4096);
    let served = tokio::spawn(gateway.serve(&session, MODEL_DOOR, Box::new(outside)));
    let mut connection = connect(inside).await;
    read(connection.send_request(prompt()).await.unwrap()).await;
    assert_eq!(provider.seen()[0].headers["x-api-key"], "the-session-s-key");
    let usage = gateway.usage(&session);
    assert_eq!(
        (usage.requests, usage.input_tokens, usage.output_tokens),
        (1, 1, 2)
    );

    gateway.dismiss(&session).await;
    served.await.unwrap();
    assert_eq!(gateway.usage(&session), Default::default());
    gateway.dismiss(&session).await;
}

#[tokio::test]
async fn an_unknown_door_or_session_is_closed() {
    let gateway = SessionGateway::new(ModelProxyConfig::default());
    for door in ["mcp", MODEL_DOOR] {
        let (mut inside, outside) = tokio::io::duplex(4096);
        gateway.serve(&SessionId::new(), door, Box::new(outside)).await;
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut inside, &mut rest)
            .await
            .unwrap();
        assert!(rest.is_empty());
    }
}
