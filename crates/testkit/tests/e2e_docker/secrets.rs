//! I3: the key is nowhere but in the requests to the provider. Everything is searched from outside.

use std::sync::Arc;

use futures::StreamExt;
use libtest_mimic::Trial;
use session_core::api::SessionApi;
use session_core::id::SessionId;
use testkit::fixtures;
use testkit::model::{ApiFailure, Script};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::world::World;
use super::{Outcome, outside, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("i3_the_key_is_nowhere", fixtures::fix_calculator_script, nowhere),
        test(
            "i3_a_provider_that_repeats_the_key_does_not_leak_it",
            echoing,
            echoed,
        ),
    ]
}

async fn nowhere(world: Arc<World>) -> Outcome {
    let repository = fixtures::buggy_calculator()?;
    let session = world.session_on_copy(repository.path()).await?;
    world.prompt(&session, fixtures::FIX_CALCULATOR_PROMPT).await?;
    let requests = world.model.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(
            request.credential(),
            Some(world.key.text()),
            "the provider gets the key"
        );
    }
    expect_nowhere(&world, &session).await
}

/// An error body with the key in it, as some proxies write them.
fn echoing() -> Script {
    Script::new()
        .answer(|request| {
            let key = request.credential().unwrap_or_default().to_owned();
            ApiFailure::new(400, "invalid_request_error", format!("bad key {key}")).into()
        })
        .forever()
}

async fn echoed(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let outcome = world.prompt(&session, "Try.").await?;
    assert!(!world.key.is_in(format!("{outcome:?}").as_bytes()), "{outcome:?}");
    expect_nowhere(&world, &session).await
}

pub(crate) async fn expect_nowhere(world: &World, session: &SessionId) -> Outcome {
    let key = &world.key;
    let inspected = outside::inspect(session).await?.to_string();
    assert!(!key.is_in(inspected.as_bytes()), "inspect");
    let logged = outside::docker(&["logs", &outside::container(session)]).await?;
    assert!(!key.is_in(logged.as_bytes()), "the engine's log");
    let processes = outside::processes(session).await?;
    assert!(processes.len() >= 2, "session-init and the agent: {processes:?}");
    for (pid, args) in processes {
        assert_eq!(key.in_process(pid, true)?, Vec::<&str>::new(), "{args}");
    }
    expect_not_in_files(world, session).await?;
    let details = world.manager.inspect(session).await?;
    assert!(
        !key.is_in(serde_json::to_string(&details)?.as_bytes()),
        "our inspect"
    );
    let events = serde_json::to_string(&world.events(session).await?)?;
    assert!(!key.is_in(events.as_bytes()), "events");
    assert_eq!(
        key.files_in(world.state())?,
        Vec::<std::path::PathBuf>::new(),
        "the state directory"
    );
    let log = world.whole_log();
    assert!(!key.is_in(log.as_bytes()), "our own log at its finest level");
    assert!(!log.is_empty(), "there is a log");
    Ok(())
}

/// The container's own file system, and what is mounted into it.
async fn expect_not_in_files(world: &World, session: &SessionId) -> Outcome {
    let mut export = Command::new("docker")
        .args(["export", &outside::container(session)])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdout = export.stdout.take().ok_or("its output is a pipe")?;
    let mut search = world.key.search();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match stdout.read(&mut chunk).await? {
            0 => break,
            read => search.feed(&chunk[..read]),
        }
    }
    assert!(
        export.wait().await?.success() && search.bytes() > 1 << 20,
        "the export was read"
    );
    for path in ["/workspace", "/home/agent", "/tmp"] {
        let mut archive = world.manager.copy_out(session, path).await?;
        while let Some(bytes) = archive.next().await {
            search.feed(&bytes?);
        }
    }
    assert!(!search.found(), "in a file of the container");
    Ok(())
}
