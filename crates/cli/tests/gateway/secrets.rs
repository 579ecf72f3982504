//! The secrets of MCP servers: each is used by its server, and is nowhere in the session that uses the server.

use std::process::Stdio;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use testkit::canary::{Canary, Search};
use testkit::mcp::{HttpServer, Options};
use testkit::model::{Gate, Script};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::published::npm;
use super::shell::Shell;
use super::told::told;
use super::world::{World, private_dir};
use super::{Result, engine, small, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![test(
        "i3_the_secrets_of_mcp_servers_are_used_and_nowhere_inside",
        Script::new,
        used_and_nowhere,
    )]
}

async fn used_and_nowhere(world: Arc<World>) -> Result<()> {
    let secret = Canary::new();
    let dir = private_dir("cofferdam-small-")?;
    let script = small::put_into(dir.path())?;
    let remote = HttpServer::start(Options {
        bearer: Some(secret.text().to_owned()),
        ..Options::default()
    })
    .await?;
    let declared = "env = { TOKEN = { env = \"TOKEN_OF_A_SERVER\" } }\n";
    let servers = [
        &small::declared(&script, &[]),
        declared,
        &npm("everything")?.declared("all", &[]),
        declared,
        &format!("[servers.remote]\nurl = {:?}\nprivate = true\n", remote.url()),
        "headers = { Authorization = { prefix = \"Bearer \", env = \"TOKEN_OF_A_SERVER\" } }\n",
        "[profiles.default]\nservers = [\"small\", \"all\", \"remote\"]\n",
    ];
    let shell = Shell::new(&world, &servers.concat())?.with_secret("TOKEN_OF_A_SERVER", secret.text());
    let gate = Gate::new();
    let tools = [
        "small__secret_length",
        "small__tell",
        "all__get-env",
        "remote__secret_length",
    ];
    let steps = tools.iter().fold(Script::new(), |steps, tool| {
        steps.tool(format!("mcp__gw__{tool}"), json!({}))
    });
    world.model.set_script(steps.say("Done.").gated(&gate));

    let session = shell.create(&["--empty"]).await?;
    let prompt = shell.start(&["prompt", &session, "Use the tools."])?;
    // The agent knows all that it will ever know, and waits for its model.
    world.model.wait_for_conversation(5).await;
    expect_nowhere_inside(&secret, &session).await?;
    gate.open();
    prompt.ok().await?;

    let told = told(&world);
    assert_eq!(
        told[0],
        secret.text().len().to_string(),
        "the program has its secret"
    );
    assert!(
        told[1].starts_with("It is ") && told[1].ends_with('.'),
        "{}",
        told[1]
    );
    assert!(told[2].contains("\"TOKEN\""), "{}", told[2]);
    assert!(told[3].contains(&secret.text().len().to_string()), "{}", told[3]);
    assert!(
        !remote.authorizations().is_empty(),
        "its requests carry the secret"
    );
    for request in world.model.requests() {
        assert!(!secret.is_in(&request.body), "the model was told the secret");
    }
    expect_nowhere_outside(&world, &shell, &secret, &session).await?;
    shell.ok(&["rm", &session]).await?;
    Ok(())
}

/// While the agent lives.
async fn expect_nowhere_inside(secret: &Canary, session: &str) -> Result<()> {
    let container = format!("cofferdam-{session}");
    let inspected = engine::docker(&["inspect", &container]).await?;
    assert!(!secret.is_in(inspected.as_bytes()), "in what the engine says");
    let logged = engine::docker(&["logs", &container]).await?;
    assert!(!secret.is_in(logged.as_bytes()), "in the engine's log");
    let listed = engine::docker(&["top", &container, "-eo", "pid"]).await?;
    let pids: Vec<u32> = listed
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    assert!(pids.len() >= 2, "session-init and the agent: {listed}");
    for pid in pids {
        assert_eq!(secret.in_process(pid, true)?, Vec::<&str>::new(), "process {pid}");
    }
    let mut search = secret.search();
    feed(&mut search, &["export", &container]).await?;
    for path in ["/workspace", "/home/agent", "/tmp"] {
        feed(
            &mut search,
            &["exec", &container, "tar", "--create", "--directory", path, "."],
        )
        .await?;
    }
    assert!(search.bytes() > 1 << 20, "something was read");
    assert!(!search.found(), "in a file of the container");
    Ok(())
}

/// Searches what the engine's command line writes.
async fn feed(search: &mut Search<'_>, args: &[&str]) -> Result<()> {
    let mut command = Command::new("docker");
    let mut child = command
        .args(args)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdout = child.stdout.take().ok_or("its output is a pipe")?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        match stdout.read(&mut chunk).await? {
            0 => break,
            read => search.feed(&chunk[..read]),
        }
    }
    // A file that changes while tar reads it is told by its status, and was searched all the same.
    let status = child.wait().await?;
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(format!("docker {args:?} ends with {status}").into()),
    }
}

/// Once it is over.
async fn expect_nowhere_outside(
    world: &World,
    shell: &Shell<'_>,
    secret: &Canary,
    session: &str,
) -> Result<()> {
    let details = shell.ok(&["inspect", session, "--json"]).await?;
    assert!(!secret.is_in(details.as_bytes()), "in our inspect");
    let events = Value::from(shell.events(session).await?).to_string();
    assert!(
        events.contains("small__secret_length"),
        "the events tell of the calls"
    );
    assert!(!secret.is_in(events.as_bytes()), "in the events");
    for dir in world.places() {
        let found = secret.files_in(dir)?;
        assert!(found.is_empty(), "in {found:?}");
    }
    Ok(())
}
