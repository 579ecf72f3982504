//! What a session can reach, and images that know nothing of us.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use session_core::command::CommandRequest;
use session_core::id::SessionId;
use session_core::runtime::NetworkMode;
use session_core::session::CreateSession;
use session_core::turn::TurnStatus;
use testkit::model::Script;
use tokio::net::{TcpListener, TcpStream};

use super::world::World;
use super::{Outcome, outside, test};

const FOREIGN: &str = "cofferdam-test-foreign:latest";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("i4_a_sealed_session_has_only_loopback", Script::new, sealed),
        test("an_open_session_reaches_the_network", Script::new, open),
        test(
            "i5_a_foreign_image_is_a_session_with_the_real_agent",
            writes_a_file,
            foreign,
        ),
        test("the_hardening_is_what_the_engine_says", Script::new, hardened),
        test(
            "sessions_cannot_reach_each_others_model",
            || Script::always("Done."),
            token_of_another,
        ),
    ]
}

fn writes_a_file() -> Script {
    Script::new()
        .tool(
            "Write",
            json!({ "file_path": "/workspace/made.txt", "content": "made by the agent\n" }),
        )
        .tool(
            "Bash",
            json!({ "command": "cat /workspace/made.txt", "description": "Look" }),
        )
        .say("Made.")
}

async fn sealed(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let (listener, address) = listener().await?;
    assert_eq!(world.read(&session, &["ls", "/sys/class/net"]).await?, "lo");
    assert_eq!(
        world
            .read(&session, &["cat", "/proc/net/route"])
            .await?
            .lines()
            .count(),
        1
    );
    assert!(
        !dial(&world, &session, address).await?,
        "a sealed session reached {address}"
    );
    let arrived = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(arrived.is_err(), "something arrived");
    // Its own loopback is its own: the host's model is not on it.
    assert!(!dial(&world, &session, world.model.address()).await?);
    Ok(())
}

async fn open(world: Arc<World>) -> Outcome {
    let request = CreateSession {
        network: NetworkMode::Open,
        ..CreateSession::default()
    };
    let session = world.create(request).await?.id;
    let (listener, address) = listener().await?;
    assert!(
        dial(&world, &session, address).await?,
        "an open session did not reach {address}"
    );
    tokio::time::timeout(Duration::from_secs(1), listener.accept()).await??;
    Ok(())
}

/// A listener on this machine's address on the engine's bridge, which was dialled once.
async fn listener() -> Result<(TcpListener, SocketAddr), Box<dyn std::error::Error + Send + Sync>> {
    let subnet = outside::docker(&[
        "network",
        "inspect",
        "bridge",
        "--format",
        "{{(index .IPAM.Config 0).Subnet}}",
    ])
    .await?;
    let base: Ipv4Addr = subnet.split('/').next().unwrap_or_default().parse()?;
    let listener = TcpListener::bind((Ipv4Addr::from(u32::from(base) | 1), 0)).await?;
    let address = listener.local_addr()?;
    drop(TcpStream::connect(address).await?);
    drop(listener.accept().await?);
    Ok((listener, address))
}

async fn dial(
    world: &World,
    session: &SessionId,
    address: SocketAddr,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let script = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
    let mut request = CommandRequest::new(["bash", "-c", &script]);
    request.time_limit = Some(Duration::from_secs(5));
    Ok(world.run_request(session, request).await?.exit.code == Some(0))
}

async fn foreign(world: Arc<World>) -> Outcome {
    let request = CreateSession {
        image: Some(FOREIGN.parse()?),
        ..CreateSession::default()
    };
    let session = world.create(request).await?.id;
    let outcome = world.prompt(&session, "Make a file.").await?;
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Made."),
        "{outcome:?}"
    );
    assert_eq!(
        world.read(&session, &["cat", "made.txt"]).await?,
        "made by the agent"
    );
    // Nothing that the image says of itself takes part.
    assert_eq!(world.read(&session, &["id", "-u"]).await?, "1000");
    let environment = world.read(&session, &["env"]).await?;
    assert!(!environment.contains("nowhere"), "{environment}");
    let inspected = outside::inspect(&session).await?;
    assert_eq!(inspected["State"]["Health"], serde_json::Value::Null);
    let mounts = inspected["Mounts"].as_array().ok_or("a container has mounts")?;
    let anonymous = mounts
        .iter()
        .find(|mount| mount["Type"] == "volume" && mount["Destination"] == "/data");
    assert_eq!(anonymous, None, "the image's volume");
    Ok(())
}

async fn hardened(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let host = outside::inspect(&session).await?["HostConfig"].clone();
    assert_eq!(host["ReadonlyRootfs"], json!(true));
    assert_eq!(host["Privileged"], json!(false));
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["CapAdd"].as_array().map_or(0, Vec::len), 0);
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"));
    assert!(!host["SecurityOpt"].to_string().contains("unconfined"));
    assert_eq!(host["Memory"], host["MemorySwap"]);
    assert!(host["PidsLimit"].as_i64().is_some_and(|limit| limit > 0));
    for namespace in ["PidMode", "UTSMode", "UsernsMode"] {
        assert_ne!(host[namespace], json!("host"), "{namespace}");
    }
    let status = world.read(&session, &["cat", "/proc/self/status"]).await?;
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    assert_ne!(
        world.run(&session, &["touch", "/usr/made"]).await?.exit.code,
        Some(0),
        "the root is read-only"
    );
    for path in ["/tmp/made", "/workspace/made", "/home/agent/made"] {
        assert_eq!(
            world.run(&session, &["touch", path]).await?.exit.code,
            Some(0),
            "{path}"
        );
    }
    Ok(())
}

/// What one session holds opens nothing at another's door.
async fn token_of_another(world: Arc<World>) -> Outcome {
    let (one, two) = (world.session().await?, world.session().await?);
    world.prompt(&one, "Start.").await?;
    world.prompt(&two, "Start.").await?;
    let token = token_of(&world, &one).await?;
    let (own, other) = (ask(&world, &one, &token).await?, ask(&world, &two, &token).await?);
    assert_eq!(own, "200");
    assert!(
        ["401", "403"].contains(&other.as_str()),
        "another session's token was answered with {other}"
    );
    Ok(())
}

/// The token in the environment of a session's agent: what an attacker inside would take.
async fn token_of(
    world: &World,
    session: &SessionId,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let script = "tr '\\0' '\\n' </proc/$(pgrep -f input-format | head -1)/environ";
    let environment = world.read(session, &["sh", "-c", script]).await?;
    let names = ["ANTHROPIC_API_KEY=", "ANTHROPIC_AUTH_TOKEN="];
    let found = environment
        .lines()
        .find_map(|line| names.iter().find_map(|name| line.strip_prefix(name)));
    found
        .map(str::to_owned)
        .ok_or_else(|| "the agent has no token".into())
}

async fn ask(
    world: &World,
    session: &SessionId,
    token: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
    let key = format!("x-api-key: {token}");
    let url = format!(
        "http://127.0.0.1:{}/v1/messages",
        session_core::gateway::MODEL_PORT
    );
    let curl = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        &key,
        "-H",
        "content-type: application/json",
        "-d",
        body,
        &url,
    ];
    world.read(session, &curl).await
}
