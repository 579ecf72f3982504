//! Sessions with an account of their own at AWS Bedrock.

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use session_core::gateway::{BedrockAccount, ProviderAccount};

use crate::support::{World, options};

async fn bedrock(arguments: Value) -> (BedrockAccount, Value, World) {
    let mut world = World::new().await;
    let made = world.client.ok("create_session", arguments).await;
    assert_eq!(made["useBedrock"], true);
    match world.fake.created().pop().unwrap().account {
        Some(ProviderAccount::Bedrock(account)) => (account, made, world),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_that_is_given_reaches_the_gateway() {
    let (account, made, world) = bedrock(json!({
        "useBedrock": true, "awsRegion": "eu-central-1", "awsAccessKeyId": "AKIAEXAMPLE",
        "awsSecretAccessKey": "canary-key", "awsSessionToken": "canary-token",
        "bedrockModel": "eu.vendor.large", "bedrockSmallModel": "eu.vendor.small",
    }))
    .await;
    assert_eq!(account.region.as_deref(), Some("eu-central-1"));
    let credentials = account.credentials.unwrap();
    assert_eq!(credentials.access_key_id, "AKIAEXAMPLE");
    assert_eq!(credentials.secret_access_key.expose_secret(), "canary-key");
    assert_eq!(credentials.session_token.unwrap().expose_secret(), "canary-token");
    assert_eq!(
        (&made["model"], &made["smallModel"]),
        (&json!("eu.vendor.large"), &json!("eu.vendor.small"))
    );
    assert!(!made.to_string().contains("canary"));
    world.end().await;
}

#[tokio::test]
async fn what_is_left_out_comes_from_the_host() {
    let (account, made, world) =
        bedrock(json!({ "useBedrock": true, "awsRegion": "", "model": "m-1" })).await;
    assert!(account.region.is_none() && account.credentials.is_none());
    assert_eq!(made["model"], "m-1");
    world.end().await;
    let both = json!({ "useBedrock": true, "model": "m-1", "bedrockModel": "b-1" });
    let (_, made, world) = bedrock(both).await;
    assert_eq!(made["model"], "b-1");
    assert!(
        made["warnings"][0]
            .as_str()
            .unwrap()
            .contains("`model` was ignored")
    );
    world.end().await;
    let mut options = options();
    options.default_model = Some("m-0".into());
    let mut world = World::with(options).await;
    let made = world
        .client
        .ok("create_session", json!({ "useBedrock": true }))
        .await;
    assert_eq!(made["model"], "m-0");
    world.end().await;
}

#[tokio::test]
async fn half_a_credential_and_two_accounts_are_refused_without_being_shown() {
    let mut world = World::new().await;
    for (arguments, said) in [
        (
            json!({ "useBedrock": true, "awsAccessKeyId": "canary" }),
            "awsSecretAccessKey is missing",
        ),
        (
            json!({ "useBedrock": true, "awsSecretAccessKey": "canary" }),
            "awsAccessKeyId is missing",
        ),
        (
            json!({ "useBedrock": true, "awsSessionToken": "canary" }),
            "awsAccessKeyId and awsSecretAccessKey are missing",
        ),
        (
            json!({ "useBedrock": true, "awsAccessKeyId": "canary", "awsSessionToken": "canary" }),
            "awsSecretAccessKey is missing",
        ),
        (json!({ "useBedrock": true, "apiKey": "canary" }), "one account"),
        (
            json!({ "awsAccessKeyId": "canary", "awsSecretAccessKey": "canary" }),
            "useBedrock: true",
        ),
    ] {
        let text = world.client.err("create_session", arguments).await;
        assert!(
            text.starts_with("invalid_argument") && text.contains(said) && !text.contains("canary"),
            "{text}"
        );
    }
    assert!(world.fake.created().is_empty());
    world.end().await;
}

#[tokio::test]
async fn without_bedrock_its_arguments_are_named_as_ignored() {
    let mut world = World::new().await;
    let made = world
        .client
        .ok(
            "create_session",
            json!({ "useBedrock": false, "awsRegion": "eu-1", "awsSecretAccessKey": "canary", "awsSessionToken": "" }),
        )
        .await;
    let warnings = made["warnings"].to_string();
    assert!(
        warnings.contains("awsRegion") && warnings.contains("awsSecretAccessKey"),
        "{warnings}"
    );
    assert!(
        !warnings.contains("awsSessionToken") && !warnings.contains("canary"),
        "{warnings}"
    );
    assert_eq!(made["useBedrock"], false);
    assert!(world.fake.created()[0].account.is_none());
    world.end().await;
}
