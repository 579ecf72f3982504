//! I3: secrets among arguments never reach a log, an error or a result.

use serde_json::json;
use session_core::gateway::ProviderAccount;

use crate::support::World;
use crate::support::log::Log;

const CANARY: &str = "canary-9f3b1c";

#[tokio::test]
async fn i3_secrets_in_arguments_reach_the_api_and_nothing_else() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut world = World::new().await;
    let mut said = Vec::new();
    for arguments in [
        json!({ "apiKey": CANARY }),
        json!({ "apiKey": [CANARY] }),
        json!({ "apiKey": { CANARY: CANARY } }),
        json!({ "awsAccessKeyId": CANARY, "awsSecretAccessKey": CANARY, "awsSessionToken": CANARY, "useBedrock": true }),
        json!({ "awsAccessKeyId": CANARY, "awsSessionToken": CANARY, "useBedrock": true }),
        json!({ "awsSecretAccessKey": [CANARY], "useBedrock": true }),
        json!({ "awsAccessKeyId": CANARY }),
        json!({ "apiKey": CANARY, "pids": -1 }),
        json!([CANARY]),
        json!(CANARY),
    ] {
        let call = json!({ "name": "create_session", "arguments": arguments });
        said.push(world.client.request("tools/call", call).await.to_string());
    }
    let spawn = json!({ "taskDescription": CANARY, "apiKey": CANARY });
    said.push(
        world
            .client
            .call("spawn_claude_container", spawn)
            .await
            .to_string(),
    );
    // Not even when the message is broken, or the tool is another one.
    world
        .client
        .send_raw(format!(r#"{{"apiKey": "{CANARY}""#).as_bytes())
        .await;
    said.push(world.client.stray_error().await.to_string());
    let call = json!({ "name": "no_such_tool", "arguments": { "apiKey": CANARY } });
    said.push(world.client.request("tools/call", call).await.to_string());
    let call = json!({ "name": 5, "arguments": { "apiKey": CANARY } });
    said.push(world.client.request("tools/call", call).await.to_string());

    let created = world.fake.created();
    use secrecy::ExposeSecret as _;
    let Some(ProviderAccount::ApiKey(key)) = &created[0].account else {
        panic!("{:?}", created[0].account);
    };
    assert_eq!(key.expose_secret(), CANARY);
    world.end().await;
    for text in &said {
        assert!(!text.contains("canary"), "{text}");
    }
    let log = log.text();
    assert!(
        log.contains("received request"),
        "the library's own log is looked at"
    );
    let leak = log.lines().find(|line| line.contains("canary"));
    assert_eq!(leak, None);
}
