//! Bad input: each time a typed error with a hint, the session in a truthful state, nothing left behind.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libtest_mimic::Trial;
use runtime_docker::{DockerOptions, DockerRuntime};
use session_core::api::SessionApi;
use session_core::command::CommandRequest;
use session_core::error::{Error, ErrorKind};
use session_core::id::SessionId;
use session_core::session::{CreateSession, SessionFilter};
use session_core::state::StateName;
use testkit::model::Script;

use super::world::{World, open_manager, prompt_of};
use super::{Outcome, outside, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("an_image_that_does_not_exist", Script::new, no_image),
        test("an_engine_that_is_down", Script::new, no_engine),
        test("an_engine_that_hangs", Script::new, hanging_engine),
        test("arguments_that_no_kernel_takes", Script::new, arguments),
        test("an_unknown_session", Script::new, unknown),
        test("a_second_destroy", Script::new, destroyed),
        test("paths_that_lead_out", Script::new, paths),
        test("an_archive_that_breaks_off", Script::new, broken_archive),
    ]
}

#[track_caller]
fn expect<T>(outcome: Result<T, Error>, kind: ErrorKind) {
    match outcome {
        Ok(_) => panic!("no error, and {kind:?} was due"),
        Err(error) => assert_eq!(error.kind(), kind, "{error:?}"),
    }
}

async fn no_image(world: Arc<World>) -> Outcome {
    let request = CreateSession {
        image: Some("no-such-image-of-ours:1".parse()?),
        ..CreateSession::default()
    };
    let error = world
        .manager
        .create(request)
        .await
        .err()
        .ok_or("it was created")?;
    assert_eq!(error.kind(), ErrorKind::ImageNotFound, "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
    let all = world
        .manager
        .list(SessionFilter {
            all: true,
            ..SessionFilter::default()
        })
        .await?;
    assert_eq!(
        all.iter().map(|info| info.state.name()).collect::<Vec<_>>(),
        [StateName::Failed]
    );
    assert_eq!(outside::traces(&all[0].id).await?, Vec::<String>::new());
    assert!(
        !world
            .state()
            .join("sessions")
            .join(all[0].id.to_string())
            .exists()
    );
    Ok(())
}

/// An engine that is nowhere: everything that needs none still works.
async fn no_engine(world: Arc<World>) -> Outcome {
    let state = tempfile::Builder::new().prefix("cofferdam-e2e-").tempdir()?;
    let host = format!("unix://{}", state.path().join("nothing.sock").display());
    let runtime = DockerRuntime::connect(DockerOptions {
        host: Some(host),
        ..DockerOptions::default()
    })?;
    let dir = state.path().join("state");
    let manager = open_manager(&dir, Arc::new(runtime), &world.model.url(), world.key.text()).await?;
    let error = manager
        .create(CreateSession::default())
        .await
        .err()
        .ok_or("it was created")?;
    assert_eq!(error.kind(), ErrorKind::EngineUnavailable, "{error:?}");
    assert!(error.is_retryable() && error.hint().is_some(), "{error:?}");
    let all = manager
        .list(SessionFilter {
            all: true,
            ..SessionFilter::default()
        })
        .await?;
    assert!(
        all.iter().all(|info| info.state.name() == StateName::Failed),
        "{all:?}"
    );
    manager.shutdown().await;
    Ok(())
}

/// An engine that accepts and never answers.
async fn hanging_engine(world: Arc<World>) -> Outcome {
    let state = tempfile::Builder::new().prefix("cofferdam-e2e-").tempdir()?;
    let socket = state.path().join("hangs.sock");
    let _listener = tokio::net::UnixListener::bind(&socket)?;
    let host = format!("unix://{}", socket.display());
    let runtime = DockerRuntime::connect(DockerOptions {
        host: Some(host),
        ..DockerOptions::default()
    })?;
    let dir = state.path().join("state");
    let manager = open_manager(&dir, Arc::new(runtime), &world.model.url(), world.key.text()).await?;
    let probed = tokio::time::timeout(Duration::from_secs(30), manager.probe()).await?;
    expect(probed, ErrorKind::EngineTimeout);
    manager.shutdown().await;
    Ok(())
}

async fn arguments(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let refused = [
        Vec::new(),
        vec![b"true".to_vec(), b"nul\0byte".to_vec()],
        vec![b"true".to_vec(), vec![b'x'; 3 << 20]],
        vec![Vec::new()],
    ];
    for argv in refused {
        expect(
            world.manager.command(&session, CommandRequest::new(argv)).await,
            ErrorKind::InvalidArgument,
        );
    }
    expect(
        world.manager.prompt(&session, prompt_of("")).await,
        ErrorKind::InvalidArgument,
    );
    let long = "x".repeat(session_core::agent::MAX_PROMPT_BYTES + 1);
    expect(
        world.manager.prompt(&session, prompt_of(&long)).await,
        ErrorKind::InvalidArgument,
    );
    assert_eq!(
        world.run(&session, &["true"]).await?.exit.code,
        Some(0),
        "the session works on"
    );
    Ok(())
}

async fn unknown(world: Arc<World>) -> Outcome {
    let nobody = SessionId::new();
    expect(world.manager.inspect(&nobody).await, ErrorKind::NotFound);
    expect(
        world.manager.prompt(&nobody, prompt_of("x")).await,
        ErrorKind::NotFound,
    );
    expect(
        world
            .manager
            .command(&nobody, CommandRequest::new(["true"]))
            .await,
        ErrorKind::NotFound,
    );
    expect(world.manager.destroy(&nobody).await, ErrorKind::NotFound);
    Ok(())
}

async fn destroyed(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    world.manager.destroy(&session).await?;
    world.manager.destroy(&session).await?;
    assert_eq!(
        world.manager.inspect(&session).await?.info.state.name(),
        StateName::Destroyed
    );
    expect(
        world
            .manager
            .command(&session, CommandRequest::new(["true"]))
            .await,
        ErrorKind::StateConflict,
    );
    expect(
        world.manager.prompt(&session, prompt_of("x")).await,
        ErrorKind::StateConflict,
    );
    assert!(
        !world.events(&session).await?.is_empty(),
        "its history stays readable"
    );
    Ok(())
}

async fn paths(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    expect(
        first(&world, &session, "no/such/path").await,
        ErrorKind::PathNotFound,
    );
    for path in ["nul\0byte", ""] {
        expect(first(&world, &session, path).await, ErrorKind::InvalidArgument);
    }
    Ok(())
}

/// The first piece of an archive: a refusal may come with the call or with the stream.
async fn first(world: &World, session: &SessionId, path: &str) -> Result<(), Error> {
    let mut archive = world.manager.copy_out(session, path).await?;
    archive.next().await.transpose().map(drop)
}

async fn broken_archive(world: Arc<World>) -> Outcome {
    let session = world.session().await?;
    let garbage = futures::stream::iter([Ok(bytes::Bytes::from(vec![0xff; 4096]))]).boxed();
    assert!(
        world.manager.copy_in(&session, "there", garbage).await.is_err(),
        "garbage is no archive"
    );
    let broken = Error::new(ErrorKind::HostIo, "read the archive", "it broke off");
    let breaking = futures::stream::iter([Err(broken)]).boxed();
    expect(
        world.manager.copy_in(&session, "there", breaking).await,
        ErrorKind::HostIo,
    );
    assert_eq!(
        world.run(&session, &["true"]).await?.exit.code,
        Some(0),
        "the session works on"
    );
    Ok(())
}
