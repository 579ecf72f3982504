//! What the MCP server adds: every call goes through the release program's pipes, to real sessions.

mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::{Value, json};
use session_core::api::SessionApi;
use session_core::manager::SessionManager;
use xtask::error::{Context, Error, Result};

use self::server::Server;
use super::cases::Figures;
use super::commands::RawExec;
use super::lifecycle::{RawCreate, RawDestroy, end_session, new_container, new_session};
use super::memory::resident;
use super::pairs::{Side, alternate, repeat};
use super::{Lab, scripted};
use crate::lab::{State, manager};

/// How many sessions are made at a time; more would only wait for the engine.
const AT_ONCE: usize = 8;

/// From the start of the process to the answer to `initialize`.
pub(super) async fn start(lab: &mut Lab) -> Result<Figures> {
    let rounds = lab.rounds(100);
    let mut ours = Start { lab, server: None };
    let figures = repeat(rounds, &mut ours).await;
    ours.leave().await?;
    figures
}

struct Start<'a> {
    lab: &'a Lab,
    server: Option<Server>,
}

impl Start<'_> {
    async fn leave(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.leave().await,
            None => Ok(()),
        }
    }
}

impl Side for Start<'_> {
    async fn once(&mut self) -> Result<Duration> {
        self.leave().await?;
        let started = Instant::now();
        self.server = Some(Server::start(self.lab, self.lab.state.path()).await?);
        Ok(started.elapsed())
    }
}

/// Ten sessions, listed.
pub(super) async fn list_ten(lab: &mut Lab) -> Result<Figures> {
    list(lab, 10).await
}

/// A hundred sessions, listed.
pub(super) async fn list_hundred(lab: &mut Lab) -> Result<Figures> {
    list(lab, 100).await
}

/// Real sessions, on a state directory of their own.
async fn list(lab: &mut Lab, count: usize) -> Result<Figures> {
    let state = State::new()?;
    let maker = manager(state.path(), &lab.host, &scripted(&lab.model.url())).await?;
    let mut sessions = Vec::new();
    let mut figures = Ok(());
    while sessions.len() < count && figures.is_ok() {
        let more = AT_ONCE.min(count - sessions.len());
        let made = try_join_all((0..more).map(|_| new_session(&maker))).await;
        figures = made.map(|made| sessions.extend(made));
    }
    let figures = match figures {
        Ok(()) => listed(lab, state.path(), count).await,
        Err(error) => Err(error),
    };
    end_all(&maker).await?;
    figures
}

async fn end_all(maker: &SessionManager) -> Result<()> {
    let sessions = maker.list(Default::default()).await;
    let sessions = sessions.context(|| "cannot list the sessions".to_owned())?;
    for some in sessions.chunks(AT_ONCE) {
        try_join_all(some.iter().map(|session| end_session(maker, &session.id))).await?;
    }
    maker.shutdown().await;
    Ok(())
}

async fn listed(lab: &Lab, state: &Path, count: usize) -> Result<Figures> {
    let server = Server::start(lab, state).await?;
    let mut ours = List { server, count };
    let figures = repeat(lab.rounds(200), &mut ours).await;
    ours.server.leave().await?;
    figures
}

struct List {
    server: Server,
    count: usize,
}

impl Side for List {
    async fn once(&mut self) -> Result<Duration> {
        let arguments = json!({ "limit": self.count });
        let started = Instant::now();
        let listed = self.server.call("list_sessions", &arguments).await?;
        let taken = started.elapsed();
        match listed["sessions"].as_array().map(Vec::len) {
            Some(count) if count == self.count => Ok(taken),
            other => Err(Error::new(format!(
                "{other:?} sessions are listed, not {}",
                self.count
            ))),
        }
    }
}

/// From the call to the result of a command.
pub(super) async fn command(lab: &mut Lab) -> Result<Figures> {
    let mut server = Server::start(lab, lab.state.path()).await?;
    let session = created(&mut server).await?;
    let container = new_container(&mut lab.engine, "none").await?;
    let mut ours = Command { server, session };
    let mut baseline = RawExec(lab.engine.another().await?, container.clone());
    let figures = alternate(lab.rounds(200), &mut ours, &mut baseline).await;
    destroyed(&mut ours.server, &ours.session).await?;
    ours.server.leave().await?;
    lab.engine.remove(&container).await?;
    figures
}

struct Command {
    server: Server,
    session: Value,
}

impl Side for Command {
    async fn once(&mut self) -> Result<Duration> {
        let arguments = json!({ "sessionId": self.session, "argv": ["true"] });
        let started = Instant::now();
        let ran = self.server.call("execute_command", &arguments).await?;
        let taken = started.elapsed();
        match ran["exitCode"].as_i64() {
            Some(0) => Ok(taken),
            other => Err(Error::new(format!("`true` ended with {other:?}"))),
        }
    }
}

/// From the call that creates to its answer: the session is ready.
pub(super) async fn create(lab: &mut Lab) -> Result<Figures> {
    let mut ours = Create(Server::start(lab, lab.state.path()).await?);
    let mut baseline = RawCreate(lab.engine.another().await?);
    let figures = alternate(lab.rounds(30), &mut ours, &mut baseline).await;
    ours.0.leave().await?;
    figures
}

struct Create(Server);

impl Side for Create {
    async fn once(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let session = created(&mut self.0).await?;
        let taken = started.elapsed();
        destroyed(&mut self.0, &session).await?;
        Ok(taken)
    }
}

/// From the call that destroys to its answer.
pub(super) async fn destroy(lab: &mut Lab) -> Result<Figures> {
    let mut ours = Destroy(Server::start(lab, lab.state.path()).await?);
    let mut baseline = RawDestroy(lab.engine.another().await?);
    let figures = alternate(lab.rounds(30), &mut ours, &mut baseline).await;
    ours.0.leave().await?;
    figures
}

struct Destroy(Server);

impl Side for Destroy {
    async fn once(&mut self) -> Result<Duration> {
        let session = created(&mut self.0).await?;
        let started = Instant::now();
        destroyed(&mut self.0, &session).await?;
        Ok(started.elapsed())
    }
}

async fn created(server: &mut Server) -> Result<Value> {
    Ok(server.call("create_session", &json!({})).await?["sessionId"].take())
}

async fn destroyed(server: &mut Server, session: &Value) -> Result<()> {
    server
        .call("destroy_session", &json!({ "sessionId": session }))
        .await
        .map(drop)
}

/// A server that a client has looked at and that has nothing to do.
pub(super) async fn memory(lab: &mut Lab) -> Result<Figures> {
    let mut server = Server::start(lab, lab.state.path()).await?;
    server.request("tools/list", &json!({})).await?;
    server.call("list_sessions", &json!({})).await?;
    let bytes = resident(server.id()?)?;
    server.leave().await?;
    Ok(Figures::Bytes(bytes))
}
