//! The way out of a sealed session, with the real agent and the real git: what they find, what stops them, what is said.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use session_core::api::SessionApi;
use session_core::egress::DecideEgress;
use session_core::error::ErrorKind;
use session_core::event::{Event, EventKind};
use session_core::session::{CreateSession, WorkspaceSource};
use session_core::turn::TurnStatus;
use testkit::model::Script;

use super::world::World;
use super::{Outcome, test};

const REPOSITORY: &str = "https://git.example.com/project.git";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_sealed_agent_reaches_its_model_past_the_way_out", looks, agent),
        test("a_command_that_is_denied_waits_for_a_word", Script::new, command),
        test("a_clone_that_the_wall_stopped_says_so", Script::new, clone),
        test(
            "the_operators_certificates_stand_before_the_images_own",
            Script::new,
            certificates,
        ),
    ]
}

fn looks() -> Script {
    let look = "env | grep -i proxy | sort; git ls-remote https://git.example.com/x 2>&1";
    Script::new()
        .tool("Bash", json!({ "command": look, "description": "Look around" }))
        .say("Seen.")
}

fn denied(events: &[Event]) -> Vec<String> {
    let host = |event: &Event| match &event.kind {
        EventKind::EgressDenied { host, port, .. } => Some(format!("{host}:{port}")),
        _ => None,
    };
    events.iter().filter_map(host).collect()
}

async fn agent(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let outcome = world.prompt(&session, "Look.").await?;
    assert_eq!(outcome.status, TurnStatus::Succeeded, "{outcome:?}");
    let events = world.events(&session).await?;
    let seen = events.iter().find_map(|event| match &event.kind {
        EventKind::ToolResult { text, .. } => Some(text.clone()),
        _ => None,
    });
    let seen = seen.ok_or("the tool said nothing")?;
    for line in [
        "HTTPS_PROXY=http://127.0.0.1:9102",
        "http_proxy=http://127.0.0.1:9102",
        "NO_PROXY=127.0.0.1,localhost,::1",
    ] {
        assert!(seen.contains(line), "{line} in {seen}");
    }
    // Its own requests went to the model's door and to no other; what its tool asked for went out and was denied.
    assert_eq!(denied(&events), ["git.example.com:443"]);
    Ok(())
}

async fn command(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let output = world.run(&session, &["git", "ls-remote", REPOSITORY]).await?;
    assert_ne!(output.exit.code, Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("403"), "{said}");
    let waiting = world.manager.egress_requests(Some(&session)).await?;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!(waiting[0].rule.to_string(), "git.example.com:443");
    let decision = DecideEgress {
        session: Some(session),
        rule: waiting[0].rule.clone(),
        allow: false,
    };
    world.manager.decide_egress(decision).await?;
    assert!(world.manager.egress_requests(None).await?.is_empty());
    world.run(&session, &["git", "ls-remote", REPOSITORY]).await?;
    assert!(
        world.manager.egress_requests(None).await?.is_empty(),
        "what was refused asks no more"
    );
    Ok(())
}

async fn clone(world: Arc<World>) -> Outcome {
    let request = CreateSession {
        workspace: WorkspaceSource::Clone {
            url: REPOSITORY.to_owned(),
            reference: None,
        },
        ..CreateSession::default()
    };
    let error = world.manager.create(request).await.err().ok_or("it was cloned")?;
    assert_eq!(error.kind(), ErrorKind::WorkspaceRefused, "{error:?}");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("--allow git.example.com"), "{hint}");
    Ok(())
}

async fn certificates(world: Arc<World>) -> Outcome {
    let own = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let manager = world
        .manager_with(|options| options.certificates = Some(own.into()))
        .await?;
    let session = manager.create(CreateSession::default()).await?.id;
    manager.shutdown().await;
    let variable = world
        .read(&session, &["sh", "-c", "echo $SSL_CERT_FILE $GIT_SSL_CAINFO"])
        .await?;
    let path = "/home/agent/.cofferdam/ca-certificates.crt";
    assert_eq!(variable, format!("{path} {path}"));
    let bundle = world.read(&session, &["cat", path]).await?;
    assert!(bundle.starts_with(own), "{}", &bundle[..200.min(bundle.len())]);
    let system = world
        .read(
            &session,
            &["sh", "-c", "cat /etc/ssl/certs/ca-certificates.crt || :"],
        )
        .await?;
    assert!(bundle.ends_with(&system), "the image's own are missing");
    Ok(())
}
