//! [`ContainerRuntime::bridge`](session_core::runtime::ContainerRuntime::bridge), and the socket that a container dials.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use session_core::error::ErrorKind;
use session_core::runtime::ContainerSpec;
use session_link::wire::preface;
use session_link::{Hello, Link, LinkListener, LinkOptions};
use tokio::io::AsyncWriteExt;

use super::stage::{Stage, run, run_spec, spawn_spec};
use crate::conformance::{Case, Outcome, cases, refused};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["bridge":
        carries_any_bytes_unchanged_in_both_directions,
        ending_one_direction_leaves_the_other_open,
        fails_with_container_lost_without_a_container,
        fails_with_container_lost_when_it_has_ended,
        several_at_once_and_one_after_the_other,
        the_socket_in_the_link_directory_is_dialled_or_refused,
    ]
}

async fn carries_any_bytes_unchanged_in_both_directions(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let link = stage.link(&spec.name).await?;
    // Every byte next to every other, and more than any buffer on the way.
    let bytes: Vec<u8> = (0..=u8::MAX)
        .flat_map(|first| (0..=u8::MAX).flat_map(move |next| [first, next]))
        .collect();
    let bytes = Bytes::from(bytes.repeat(8));
    let ran = run_spec(&link, spawn_spec(&["cat"]), Some(bytes.clone())).await?;
    ensure_eq!(ran.stdout.len(), bytes.len(), "the length of what came back");
    ensure!(ran.stdout == bytes, "what came back is not what was sent");
    Ok(())
}

async fn ending_one_direction_leaves_the_other_open(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let mut io = stage.runtime.bridge(&spec.name).await?;
    io.shutdown().await?;
    let hello: Hello = preface::receive(&mut io).await?;
    ensure_eq!(
        hello.session,
        spec.session.to_string(),
        "the session that init names"
    );
    Ok(())
}

async fn fails_with_container_lost_without_a_container(stage: Arc<Stage>) -> Outcome {
    let spec = stage.spec();
    refused(
        stage.runtime.bridge(&spec.name).await.map(drop),
        ErrorKind::ContainerLost,
    )?;
    Ok(())
}

async fn fails_with_container_lost_when_it_has_ended(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    stage.end_init(&spec.name).await?;
    refused(
        stage.runtime.bridge(&spec.name).await.map(drop),
        ErrorKind::ContainerLost,
    )?;
    Ok(())
}

async fn several_at_once_and_one_after_the_other(stage: Arc<Stage>) -> Outcome {
    let spec = stage.launch().await?;
    let first = stage.link(&spec.name).await?;
    let second = stage.link(&spec.name).await?;
    ensure_eq!(first.hello(), second.hello(), "who is at the other end");
    first.close().await;
    ensure!(
        run(&second, &["true"]).await?.exit.success(),
        "the second link went with the first"
    );
    second.close().await;
    let third = stage.link(&spec.name).await?;
    ensure!(
        run(&third, &["true"]).await?.exit.success(),
        "a later link does not work"
    );
    Ok(())
}

async fn the_socket_in_the_link_directory_is_dialled_or_refused(stage: Arc<Stage>) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let spec = ContainerSpec {
        link_dir: Some(dir.path().to_owned()),
        ..stage.spec()
    };
    let image = stage.prepare(&stage.lab.image()).await?;
    let listener = LinkListener::bind(dir.path(), "before")?;
    let launched = stage.runtime.launch(&spec, &image).await;
    if !stage.capability().host_mounts {
        refused(launched, ErrorKind::Unsupported)?;
        return Ok(());
    }
    launched?;
    let later = LinkListener::bind(dir.path(), "later")?;
    for listener in [listener, later] {
        let io = tokio::time::timeout(Duration::from_secs(5), listener.accept()).await;
        let io = io.map_err(|_late| format!("{} was not dialled", listener.file_name()))??;
        let (link, _tunnels) = Link::establish(io, LinkOptions::default()).await?;
        ensure_eq!(
            link.hello().session,
            spec.session.to_string(),
            "the session that init names"
        );
        ensure!(
            run(&link, &["true"]).await?.exit.success(),
            "the link does not work"
        );
    }
    Ok(())
}
