//! Where the host's credentials come from: profiles, and the machine's role.

use std::path::PathBuf;
use std::time::Duration;

use hyper::{Request, Response};
use session_core::gateway::ModelApi;
use session_gateway::model::{AwsSources, ProviderKind};
use testkit::model::{AwsGate, ModelServer, Script, Surface};

use super::{MODEL, REGION, SECRET, SESSION, bedrock, config, error_of, invoke};
use crate::support::{Fixture, Provider, full};

/// A folder like `~/.aws`.
struct Profiles {
    dir: tempfile::TempDir,
}

impl Profiles {
    fn new(config: &str, credentials: &str) -> Self {
        let profiles = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        profiles.write("config", config);
        profiles.write("credentials", credentials);
        profiles
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sources(&self, profile: &str) -> AwsSources {
        AwsSources {
            profile: Some(profile.to_owned()),
            config_file: Some(self.path("config")),
            credentials_file: Some(self.path("credentials")),
            ..AwsSources::default()
        }
    }
}

fn stored(profile: &str, id: &str, secret: &str) -> String {
    format!("[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
}

#[tokio::test]
async fn a_profile_gives_the_region_and_the_credentials_and_a_new_one_replaces_a_refused_one() {
    let (server, gate) = bedrock().await;
    let profiles = Profiles::new(
        &format!("[profile work]\nregion = {REGION}\n"),
        &stored("work", "AKIACANARYHOST", SECRET),
    );
    let mut config = config(&server, profiles.sources("work"));
    if let ProviderKind::Bedrock(bedrock) = &mut config.providers[0].kind {
        bedrock.region = None;
    }
    let fixture = Fixture::with(config, None).await;
    assert_eq!(
        fixture.api,
        ModelApi::Bedrock {
            region: REGION.to_owned()
        }
    );
    assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);

    // Rotated: AWS knows the new key alone.
    gate.revoke("AKIACANARYHOST");
    gate.add("AKIACANARYNEW", "the/new/secret", None);
    profiles.write("credentials", &stored("work", "AKIACANARYNEW", "the/new/secret"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);
    assert_eq!(server.requests().len(), 3, "refused once, then signed anew");

    // Gone for good: told, and searched for once.
    gate.revoke("AKIACANARYNEW");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(error_of(fixture.send(invoke(MODEL, "invoke")).await).await.0, 401);
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_profile_that_is_wrong_is_told_apart_from_one_that_is_absent() {
    let (server, _) = bedrock().await;
    for (config_file, refusal) in [
        ("", "no_credential"),
        ("[profile work]\nregion = eu-west-1\n", "no_credential"),
        (
            "[profile work]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = nobody\n",
            "no_credential",
        ),
        ("[profile work\nregion", "credential_unusable"),
        // It would run a program on the host.
        (
            "[profile work]\ncredential_process = /bin/echo canary\n",
            "credential_unusable",
        ),
    ] {
        let profiles = Profiles::new(config_file, "");
        let fixture = Fixture::with(config(&server, profiles.sources("work")), None).await;
        let response = fixture.send(invoke(MODEL, "invoke")).await;
        assert_eq!(
            response.headers()["x-cofferdam-refusal"],
            refusal,
            "{config_file}"
        );
        let (_, _, message) = error_of(response).await;
        assert!(
            !message.contains("canary") && !message.contains("/tmp"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_machine_s_role_is_asked_for_last() {
    let (server, _) = bedrock().await;
    let metadata = Provider::start(async |request: Request<_>| {
        let path = request.uri().path().to_owned();
        let answer = match path.as_str() {
            "/latest/api/token" => "metadata-token".to_owned(),
            path if path.ends_with("/security-credentials/") => "the-role".to_owned(),
            path if path.ends_with("/the-role") => format!(
                r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"AKIACANARYHOST","SecretAccessKey":"{SECRET}",
                "Token":"{SESSION}","LastUpdated":"2026-01-01T00:00:00Z","Expiration":"2099-01-01T00:00:00Z"}}"#
            ),
            _ => return Response::builder().status(404).body(full("")).unwrap(),
        };
        Response::builder()
            .header("x-aws-ec2-metadata-token-ttl-seconds", "600")
            .body(full(answer))
            .unwrap()
    })
    .await;
    let gate = AwsGate::new(REGION).accept("AKIACANARYHOST", SECRET, Some(SESSION));
    drop(server);
    let server = ModelServer::start_as(Surface::Bedrock(gate), Script::new().say("hi").forever())
        .await
        .unwrap();
    let sources = AwsSources {
        machine_role: true,
        metadata_endpoint: Some(metadata.base.to_string()),
        ..AwsSources::default()
    };
    let fixture = Fixture::with(config(&server, sources), None).await;
    for _ in 0..3 {
        assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);
    }
    let asked = metadata
        .seen()
        .iter()
        .filter(|seen| seen.uri.path().ends_with("/the-role"))
        .count();
    assert_eq!(asked, 1, "kept until it ends");
}

#[tokio::test]
async fn a_metadata_service_that_does_not_answer_is_not_waited_for_long() {
    let (server, _) = bedrock().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sources = AwsSources {
        machine_role: true,
        metadata_endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
        ..AwsSources::default()
    };
    let fixture = Fixture::with(config(&server, sources), None).await;
    let started = std::time::Instant::now();
    let response = fixture.send(invoke(MODEL, "invoke")).await;
    assert_eq!(response.status(), 401);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}
