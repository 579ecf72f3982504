//! Sessions made and destroyed, against bare containers.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::command::CommandRequest;
use session_core::id::SessionId;
use session_core::manager::SessionManager;
use session_core::session::CreateSession;
use xtask::error::{Context, Error, Result};

use super::cases::Figures;
use super::pairs::{Side, alternate};
use super::{Lab, plain_container};
use crate::raw::Engine;

const AT_ONCE: usize = 16;

/// From the call that creates to the result of the first command.
pub(super) async fn create(lab: &mut Lab) -> Result<Figures> {
    let mut ours = OurCreate(lab.manager.clone());
    let mut baseline = RawCreate(lab.engine.another().await?);
    alternate(lab.rounds(30), &mut ours, &mut baseline).await
}

/// From the call that destroys to its answer.
pub(super) async fn destroy(lab: &mut Lab) -> Result<Figures> {
    let mut ours = OurDestroy(lab.manager.clone());
    let mut baseline = RawDestroy(lab.engine.another().await?);
    alternate(lab.rounds(30), &mut ours, &mut baseline).await
}

/// From the first call to the last answer.
pub(super) async fn create_many(lab: &mut Lab) -> Result<Figures> {
    let mut engines = Vec::new();
    for _ in 0..AT_ONCE {
        engines.push(lab.engine.another().await?);
    }
    let mut ours = OurMany(lab.manager.clone());
    alternate(lab.rounds(6), &mut ours, &mut RawMany(engines)).await
}

pub(super) async fn new_session(manager: &SessionManager) -> Result<SessionId> {
    let created = manager.create(CreateSession::default()).await;
    Ok(created.context(|| "cannot create a session".to_owned())?.id)
}

pub(super) async fn end_session(manager: &SessionManager, session: &SessionId) -> Result<()> {
    let destroyed = manager.destroy(session).await;
    destroyed.context(|| "cannot destroy a session".to_owned())
}

/// Runs `true` and makes sure that it was.
pub(super) async fn run_true(manager: &SessionManager, session: &SessionId) -> Result<()> {
    let ran = manager
        .command_output(session, CommandRequest::new(["true"]), 0)
        .await;
    match ran.context(|| "cannot run a command".to_owned())?.exit.code {
        Some(0) => Ok(()),
        code => Err(Error::new(format!("`true` ended with {code:?}"))),
    }
}

pub(super) async fn new_container(engine: &mut Engine, network: &str) -> Result<String> {
    let container = engine.create(&plain_container(network)).await?;
    engine.start(&container).await?;
    Ok(container)
}

pub(super) async fn exec_true(engine: &mut Engine, container: &str) -> Result<()> {
    match engine.exec(container, &["true"], &[]).await?.exit_code {
        0 => Ok(()),
        code => Err(Error::new(format!("`true` ended with {code}"))),
    }
}

struct OurCreate(SessionManager);

impl Side for OurCreate {
    async fn once(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let session = new_session(&self.0).await?;
        run_true(&self.0, &session).await?;
        let taken = started.elapsed();
        end_session(&self.0, &session).await?;
        Ok(taken)
    }
}

pub(super) struct RawCreate(pub(super) Engine);

impl Side for RawCreate {
    async fn once(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let container = new_container(&mut self.0, "none").await?;
        exec_true(&mut self.0, &container).await?;
        let taken = started.elapsed();
        self.0.remove(&container).await?;
        Ok(taken)
    }
}

struct OurDestroy(SessionManager);

impl Side for OurDestroy {
    async fn once(&mut self) -> Result<Duration> {
        let session = new_session(&self.0).await?;
        let started = Instant::now();
        end_session(&self.0, &session).await?;
        Ok(started.elapsed())
    }
}

pub(super) struct RawDestroy(pub(super) Engine);

impl Side for RawDestroy {
    async fn once(&mut self) -> Result<Duration> {
        let container = new_container(&mut self.0, "none").await?;
        let started = Instant::now();
        self.0.remove(&container).await?;
        Ok(started.elapsed())
    }
}

struct OurMany(SessionManager);

impl Side for OurMany {
    async fn once(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let sessions = try_join_all((0..AT_ONCE).map(|_| new_session(&self.0))).await?;
        let taken = started.elapsed();
        try_join_all(sessions.iter().map(|session| end_session(&self.0, session))).await?;
        Ok(taken)
    }
}

/// As many connections as containers, so that nothing waits for anything but the engine.
struct RawMany(Vec<Engine>);

impl Side for RawMany {
    async fn once(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let creating = self.0.iter_mut().map(|engine| new_container(engine, "none"));
        let containers = try_join_all(creating).await?;
        let taken = started.elapsed();
        let removing = self.0.iter_mut().zip(&containers);
        try_join_all(removing.map(|(engine, container)| engine.remove(container))).await?;
        Ok(taken)
    }
}
